"""The architecture as a test: who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A room of vgan may import rooms to its left only.
ORDER = (
    "errors",
    "addresses",
    "logs",
    "config",
    "records",
    "progress",
    "storage",
    "remote",
    "workspace",
    "page",
    "media",
    "data",
    "models",
    "sampling",
    "generation",
    "training",
    "evaluation",
    "registry",
    "pruning",
    "backup",
)
SOURCES = sorted(p for top in ("vgan", "tasks", "flows") for p in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names of everything that a file imports, at any depth."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            stem = ".".join(part for part in (base, node.module) if part)
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


# And so a room of vgan/data.
DATA_ORDER = (
    "files",
    "shards",
    "buckets",
    "manifest",
    "planning",
    "decoding",
    "batches",
    "versions",
    "ingest",
    "shapes",
    "loading",
    "inspection",
)


def importers(name: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(imported.split(".")[0] == name for imported in imports(path))
    }


def room(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "vgan" and len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers_import_one_way_only(path: Path) -> None:
    layers = ("vgan", "tasks", "flows")
    own = path.relative_to(ROOT).parts[0]
    for imported in imports(path):
        top = imported.split(".")[0]
        if top in layers:
            assert layers.index(top) <= layers.index(own), (
                f"{path}: {own} must not import {imported}: flows -> tasks -> vgan"
            )


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.is_relative_to(ROOT / "vgan")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_rooms_of_vgan_import_only_what_comes_before_them(path: Path) -> None:
    own = path.relative_to(ROOT / "vgan").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in ORDER, f"{path} is in no room that ORDER knows: give it a place in the order"
    for imported in imports(path):
        other = room(imported)
        if other is not None:
            assert ORDER.index(other) <= ORDER.index(own), f"{path}: {own} must not import {other}; order: {ORDER}"


@pytest.mark.parametrize("path", sorted((ROOT / "vgan/data").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_of_the_data_import_only_what_comes_before_them(path: Path) -> None:
    own = path.relative_to(ROOT / "vgan/data").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for imported in (name.split(".") for name in imports(path)):
        if imported[:2] == ["vgan", "data"] and len(imported) > 2:
            other = imported[2]
            assert DATA_ORDER.index(other) <= DATA_ORDER.index(own), f"{path}: {own} must not import {other}"


def test_prefect_is_imported_in_flows_and_tasks_only() -> None:
    assert {path.split("/")[0] for path in importers("prefect")} <= {"flows", "tasks"}


def test_mlflow_is_imported_in_one_package_of_tasks_and_in_the_packaged_entry() -> None:
    elsewhere = {path for path in importers("mlflow") if not path.startswith("tasks/tracking/")}
    assert elsewhere == {"vgan/registry/entry.py"}


def test_processes_are_started_by_one_module_of_media_of_the_services_and_the_training_room_only() -> None:
    training = {f"vgan/training/{name}.py" for name in ("process", "ranks", "revision")}
    assert importers("subprocess") == {"vgan/media/child.py", "flows/services/processes.py", *training}
    assert importers("multiprocessing") == set()


def test_decoders_are_loaded_by_media_and_the_formats_of_clips_only() -> None:
    assert {path for path in importers("av") if not path.startswith("vgan/media/")} <= {"vgan/data/shards/formats.py"}
    # Whoever only loads clips as they are needs no decoder.
    eager = [ast.unparse(node) for node in ast.parse((ROOT / "vgan/data/shards/formats.py").read_text()).body]
    assert not [line for line in eager if re.match(r"(import|from) av\b", line)]


def test_webdataset_is_used_in_one_reader_for_others() -> None:
    assert importers("webdataset") == {"vgan/data/loading/stream.py"}  # it imports torch


def test_fsspec_is_used_in_one_module_and_loaded_for_a_url_only() -> None:
    assert importers("fsspec") == {"vgan/remote.py"}


def test_nothing_on_the_way_from_video_to_shard_imports_torch() -> None:
    way = [p for p in SOURCES if set(p.relative_to(ROOT).parts[:2]) & {"media", "data"}] + list(
        (ROOT / "vgan").glob("*.py")
    )
    assert not {str(p) for p in way if p.name != "sampling.py"} & {str(ROOT / p) for p in importers("torch")}


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"])
def test_nothing_pickles(name: str) -> None:
    assert importers(name) == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("vgan", {"torch", "mlflow", "prefect", "numpy"}),
        ("vgan.data.ingest", {"torch", "mlflow", "prefect", "fsspec"}),
        ("vgan.training.process", {"torch", "mlflow", "prefect"}),
        ("vgan.evaluation.evaluate", {"mlflow", "prefect"}),
        ("flows.cli.app", {"torch", "mlflow", "prefect", "fsspec"}),
    ],
)
def test_importing_a_stage_does_not_load_what_it_does_not_need(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not absent & set(loaded)
