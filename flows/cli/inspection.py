"""`vgan inspect`: a page that shows what a dataset version consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from flows.cli.stages import NameOption
from vgan.errors import ConfigError
from vgan.workspace import Workspace

app = typer.Typer()


@app.command("inspect")
@guarded
def inspect(
    name: NameOption,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write, whole in itself; its folder is made if need be.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="Version to show: its number, or how its digest begins; empty takes the current one."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the choice of clips that the page plays.")] = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a dataset: clips that play, histograms, labels, duplicates, rejections."""
    from vgan.data.inspection.page import headline, inspect_page
    from vgan.data.inspection.summary import summarise
    from vgan.data.manifest import load_dataset
    from vgan.data.versions.kept import find_version
    from vgan.storage import write_atomic

    if out is not None and out.is_dir():
        raise ConfigError(f"{out} is a folder.", hint=f"Name a file, such as {out / 'report.html'}.")
    if out is not None and out.exists() and not out.is_file():  # a device would be replaced by the page
        raise ConfigError(f"{out} is not a regular file.", hint="Name another one, such as report.html.")
    opened = Workspace.open(workspace, write=False, sought=f"dataset {name!r}")
    dataset = find_version(opened, name, version) if version else load_dataset(opened, name)
    summary = summarise(opened.dataset(name), dataset)
    if out is not None:
        write_atomic(out.resolve(), inspect_page(opened, dataset, summary, seed=seed).encode())
    if as_json:
        console.print_json({**summary.model_dump(mode="json"), "page": str(out) if out else None})
        return
    console.out.print(headline(summary), soft_wrap=True, markup=False)
    if out is None:
        console.out.print("a page with clips that play: --out report.html", markup=False)
    else:
        console.out.print(f"page: {console.printable(str(out))}", soft_wrap=True, markup=False)
