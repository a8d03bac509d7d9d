"""`vgan datasets`: what there is, what differs, and what may go."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.errors import ConfigError
from vgan.progress import counted
from vgan.workspace import Workspace

app = typer.Typer()


@app.command()
@guarded
def datasets(
    name: Annotated[str | None, typer.Option("--name", help="Show the versions of this dataset.")] = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", help="Version to start from: its number, or how its digest begins. Needs --with."),
    ] = None,
    other: Annotated[
        str | None, typer.Option("--with", help="Version that --compare is compared with, named the same way.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove old versions, and the clips that only they have.")
    ] = False,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="How many of the newest versions --prune leaves.")
    ] = None,
    trained_too: Annotated[
        bool, typer.Option("--trained-too", help="Let --prune remove versions that a run was trained on, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Let --prune remove without asking.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List datasets and their versions, compare two versions, remove old ones."""
    sought = f"dataset {name!r}" if name else "datasets"
    opened = Workspace.open(workspace, write=prune, missing="refuse", sought=sought)
    if not prune and (keep is not None or trained_too or yes):
        raise ConfigError("--keep, --trained-too and --yes are about removing versions.", hint="Add --prune.")
    if name is None:
        if compare or other or prune:
            raise ConfigError("--compare and --prune work on one dataset.", hint="Name it with --name.")
        _show_all(opened, as_json)
    elif prune:
        if keep is None:
            raise ConfigError("--prune needs the number of versions that stay.", hint="Give it with --keep, say 3.")
        _prune(opened, name, keep, trained_too=trained_too, yes=yes, as_json=as_json)
    elif compare or other:
        if not (compare and other):
            raise ConfigError("a comparison needs two versions.", hint="Name them: --compare 1 --with 2.")
        _compare(opened, name, compare, other, as_json)
    else:
        _show_versions(opened, name, as_json)


def _show_all(workspace: Workspace, as_json: bool) -> None:
    from vgan.data.versions.kept import list_datasets

    lines = list_datasets(workspace)
    if as_json:
        console.print_json({"datasets": [dataclasses.asdict(line) for line in lines]})
        return
    rows = [
        (line.name, str(line.number), line.digest[:12], str(line.versions), str(line.videos), str(line.clips),
         console.size(line.size_bytes))
        for line in lines
    ]  # fmt: skip
    console.print_table("Datasets", rows, ("name", "current", "digest", "versions", "videos", "clips", "on disk"))


def _show_versions(workspace: Workspace, name: str, as_json: bool) -> None:
    from vgan.data.versions.kept import list_versions

    lines = list_versions(workspace, name)
    if as_json:
        console.print_json({"name": name, "versions": [dataclasses.asdict(line) for line in lines]})
        return
    rows = [
        (
            f"{line.number}{' (current)' if line.current else ''}",
            line.digest[:12],
            str(line.videos),
            f"{line.clips_train} + {line.clips_heldout}",
            ", ".join(f"{field}={value}" for field, value in line.differs.items()),
            ", ".join(line.runs),
        )
        for line in lines
    ]
    headings = ("version", "digest", "videos", "clips: train + held-out", "other than current", "trained runs")
    console.print_table(f"Versions of {name}", rows, headings)


def _compare(workspace: Workspace, name: str, first: str, second: str, as_json: bool) -> None:
    from vgan.data.versions.kept import compare

    found = compare(workspace, name, first, second)
    if as_json:
        console.print_json({"name": name, **dataclasses.asdict(found)})
        return
    before, after = found.first, found.second
    rows: list[tuple[str, ...]] = [
        ("videos", str(before.videos), str(after.videos)),
        ("clips to train on", str(before.clips_train), str(after.clips_train)),
        ("clips held out", str(before.clips_heldout), str(after.clips_heldout)),
        *((field, str(old), str(new)) for field, (old, new) in found.config.items()),
    ]
    console.print_table(f"{name}", rows, ("", f"version {before.number}", f"version {after.number}"))
    for kind, count in found.counts.items():
        shown = ", ".join(found.videos[kind][:5])
        console.out.print(f"{kind}: {count}", style="bold", end="" if shown else "\n")
        if shown:
            console.out.print(console.printable(f"  {shown}{', ...' if count > 5 else ''}"), markup=False)


def _prune(workspace: Workspace, name: str, keep: int, *, trained_too: bool, yes: bool, as_json: bool) -> None:
    from vgan.data.versions.kept import plan_pruning, prune

    planned = plan_pruning(workspace, name, keep, trained_too=trained_too)
    asked = bool(planned.versions or planned.files)
    if not as_json:
        for line in planned.versions:
            console.out.print(f"goes: version {line.number} ({line.digest[:12]}), {counted(line.videos, 'video')}")
        for number, why in planned.spared.items():
            console.out.print(f"stays: version {number}: {why}")
        files = counted(len(planned.files), "file")
        console.out.print(f"{files} with {console.size(planned.size_bytes)} that no other version needs.")
    if asked and not yes:
        _ask(name, len(planned.versions))
    done = prune(workspace, name, keep, trained_too=trained_too) if asked else planned
    if as_json:
        console.print_json(_pruned_json(done))
    elif asked:
        console.out.print(f"removed {counted(len(done.versions), 'version')}, {console.size(done.size_bytes)}.")


def _ask(name: str, versions: int) -> None:
    """Nothing is removed unless a person says so."""
    if not sys.stdin.isatty():
        raise ConfigError(
            f"nothing of {name} was removed: nobody can be asked here.", hint="Give --yes to remove without asking."
        )
    if not typer.confirm(f"Remove {counted(versions, 'version')} of {name}?", err=True):
        raise ConfigError(f"nothing of {name} was removed.")


def _pruned_json(done: Any) -> dict[str, Any]:
    return {
        "name": done.name,
        "removed": [dataclasses.asdict(line) for line in done.versions],
        "spared": {str(number): why for number, why in done.spared.items()},
        "files": len(done.files),
        "size_bytes": done.size_bytes,
    }
