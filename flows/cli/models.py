"""`vgan models` and `vgan compare`: what is registered, and two models side by side."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.progress import duration
from vgan.workspace import Workspace

if TYPE_CHECKING:
    from tasks.comparison import Compared
    from tasks.listing import ModelLine
    from vgan.records import Metric

MODEL = "models:/NAME@champion, models:/NAME/VERSION, or the key of a local run."
MODEL_COLUMNS = ("model", "figures", "dataset", "age", "run")

app = typer.Typer()


@app.command()
@guarded
def models(
    name: Annotated[str | None, typer.Option("--name", help="Show the versions of this registered model only.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of registered models: aliases, figures, data, age."""
    sought = f"model {name!r}" if name else "registered models"
    opened = _open(workspace, sought)
    from tasks.listing import list_models
    from tasks.tracking import shown_uri

    lines = list_models(opened, name)
    if as_json:
        told = [dataclasses.asdict(line) for line in lines]
        console.print_json({"registry": shown_uri(opened), "models": told})
    elif lines:
        console.print_table("Registered models", [_row(line) for line in lines], MODEL_COLUMNS)
        console.out.print("in brackets: 0 is the floor of real clips, 1 the worst control", markup=False)
    else:
        console.out.print(f"no model is registered at {shown_uri(opened)}", markup=False, soft_wrap=True)


def _open(root: Path | None, sought: str) -> Workspace:
    """What is there; with a registry elsewhere no workspace is needed."""
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    return Workspace.open(root, write=False, fetch=False, missing="accept" if elsewhere else "refuse", sought=sought)


def _row(line: ModelLine) -> tuple[str, ...]:
    from vgan.evaluation.suite import GUARDS, PRIMARY

    keys = [name for name in (PRIMARY, *GUARDS) if name in line.figures]
    keys += [name for name in line.figures if name.startswith("fvd")]
    said = [(name, line.figures[name]) for name in keys]
    figures = [f"{name} {f.value:.4g}{'' if f.score is None else f' ({f.score:.2f})'}" for name, f in said]
    model = "\n".join([f"{line.model}/{line.version}", *(f"@{alias}" for alias in line.aliases)])
    return model, "\n".join(figures), line.dataset_digest[:12], duration(line.age_seconds), line.run


@app.command()
@guarded
def compare(
    first: Annotated[str, typer.Argument(help=f"{MODEL} Shown on the left.")],
    second: Annotated[str, typer.Argument(help="The other one, named the same way.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the film and the sheet; made if need be.")],
    num: Annotated[int, typer.Option("--num", min=1, max=64, help="Pairs of clips to show.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first pair; the next ones follow.")] = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show two models side by side, from equal seeds and classes, and compare their figures."""
    from tasks.comparison import compare as compare_models

    opened = _open(workspace, f"models {first!r} and {second!r}")
    found = compare_models(opened, (first, second), out, num=num, seed=seed)
    if as_json:
        console.print_json(_compared_json(found))
        return
    for reason in found.reasons:
        console.out.print(f"not comparable: {console.printable(reason)}", markup=False, soft_wrap=True)
    if found.rows:
        headings = ("figure", *(console.printable(name) for name in found.names), "real clips", "ahead")
        console.print_table("Figures, and in brackets how they are calibrated", _rows(found), headings)
    sheet, film = found.files[1].name, found.files[0].name
    console.out.print(f"{film} and {sheet} in {out}: left {found.names[0]}, right {found.names[1]}", markup=False)


def _rows(found: Compared) -> list[tuple[str, ...]]:
    ahead = {"first": found.names[0], "second": found.names[1], None: "cannot be told"}
    return [
        (row.name, _said(row.first), _said(row.second), f"{row.first.floor:.4g}", ahead[row.ahead])
        for row in found.rows
    ]


def _said(metric: Metric) -> str:
    calibrated = "" if metric.score is None else f" ({metric.score:.2f})"
    return f"{metric.value:.4g}{calibrated}\n{metric.low:.4g} to {metric.high:.4g}"


def _compared_json(found: Compared) -> dict[str, Any]:
    wanted = {"value", "low", "high", "score"}
    return {
        "models": found.names,
        "runs": found.runs,
        "files": [str(path) for path in found.files],
        "pairs": [{"seed": seed, "label": label} for seed, label in zip(found.seeds, found.labels, strict=True)],
        "comparable": not found.reasons,
        "reasons": found.reasons,
        "figures": {
            row.name: {
                "first": row.first.model_dump(mode="json", include=wanted),
                "second": row.second.model_dump(mode="json", include=wanted),
                "floor": row.first.floor,
                "better": row.first.better,
                "ahead": row.ahead,
            }
            for row in found.rows
        },
    }
