"""Build the folder that is registered: weights, their record, the code to run them, a card, and hashes of it all.

    generator.json, weights.safetensors   the EMA generator as training exported it
    code/vgan/...                         the part of this package that sampling needs, found by its imports
    MODEL_CARD.md                         for people
    package.json                          sha256 of every file above, and of the entry

There is no pickle in it: weights are safetensors, code is source. `entry.py` beside this module
is the file through which MLflow loads it; MLflow keeps a copy of it beside the package.
"""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

from ..errors import CorruptDataError
from ..records import GeneratorRecord
from ..storage import read_bytes, sha256_file, write_atomic

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
PACKAGED_MODULES = ("sampling.py", "media/films.py", "media/marking.py")
ENTRY_FILE = Path(__file__).resolve().with_name("entry.py")
INDEX_FILE = "package.json"
PACKAGE_FOLDER = Path("artifacts/generator")  # in the model's folder, as MLflow lays it out
_AGAIN = "Download the model again; if it stays so, somebody altered it in the registry: register the run again."
# What MLflow writes beside the package.
MODEL_FILES = {
    *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"),
    *("input_example.json", "serving_input_example.json", ENTRY_FILE.name),
}


def packaged_modules(root: Path = PACKAGE_ROOT) -> list[Path]:
    """Source files, relative to `root`, that a packaged model needs: the closure of their relative imports."""
    found: set[Path] = set()
    waiting = [root / module for module in PACKAGED_MODULES]
    while waiting:
        module = waiting.pop()
        if root not in module.parents or not module.is_file():
            continue
        relative = module.relative_to(root)
        if relative in found:
            continue
        found.add(relative)
        folders = [parent for parent in module.parents if parent == root or root in parent.parents]
        waiting += [folder / "__init__.py" for folder in folders]
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                waiting += _import_targets(module, node)
    return sorted(found)


def _import_targets(module: Path, node: ast.ImportFrom) -> list[Path]:
    """Files that one relative import may mean: a module, a package, or modules of a package."""
    base = module.parents[node.level - 1]
    if node.module:
        base = base.joinpath(*node.module.split("."))
    names = [base / alias.name for alias in node.names]
    return [path for stem in (base, *names) for path in (stem.with_suffix(".py"), stem / "__init__.py")]


def build_package(generator_folder: Path, card: str, out: Path) -> str:
    """Assemble the package of the generator in `generator_folder` in the new folder `out`.

    Returns:
        The sha256 of package.json, which names the hashes of all other files.
    """
    record = read_record(generator_folder)
    out.mkdir(parents=True)
    shutil.copyfile(generator_folder / "generator.json", out / "generator.json")
    shutil.copyfile(generator_folder / "weights.safetensors", out / "weights.safetensors")
    if sha256_file(out / "weights.safetensors") != record.weights_sha256:
        raise CorruptDataError(f"the weights in {generator_folder} do not match generator.json.")
    for relative in packaged_modules():
        target = out / "code" / "vgan" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE_ROOT / relative, target)
    (out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    files = {p.relative_to(out).as_posix(): sha256_file(p) for p in sorted(out.rglob("*")) if p.is_file()}
    index = {"files": files, "entry": sha256_file(ENTRY_FILE)}
    write_atomic(out / INDEX_FILE, json.dumps(index, indent=1, sort_keys=True).encode())
    return sha256_file(out / INDEX_FILE)


def verify_model(folder: Path, package_sha256: str | None = None) -> GeneratorRecord:
    """Check a model as MLflow stores it: its package, its entry, and that there is nothing beside them.

    A file that MLflow did not write for this model, such as a pickle that MLmodel could name, is refused although
    nothing here would load it: others load the same folder. What Python keeps of the entry when MLflow loads it in
    place is let be.

    Args:
        folder: of the model, for example downloaded from the registry.
        package_sha256: what the registry's tag says package.json hashes to, when known.

    Raises:
        CorruptDataError: a file is missing, altered or not of this model.
    """
    package = folder / PACKAGE_FOLDER
    record = verify_package(package, package_sha256)
    entry: str | None = json.loads(read_bytes(package / INDEX_FILE)).get("entry")
    if entry is not None and sha256_file(folder / ENTRY_FILE.name) != entry:
        raise CorruptDataError(f"{folder / ENTRY_FILE.name} was altered.", hint=_AGAIN)
    files = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
    for path in sorted(files):
        if path.match(f"__pycache__/{ENTRY_FILE.stem}.*.pyc") and len(path.parts) == 2:
            continue
        if path.as_posix() not in MODEL_FILES and PACKAGE_FOLDER not in path.parents:
            raise CorruptDataError(f"{folder / path} is no part of this model.", hint=_AGAIN)
    return record


def verify_package(folder: Path, package_sha256: str | None = None) -> GeneratorRecord:
    """Check every hash of a package and return its generator's record.

    Args:
        folder: a package, for example downloaded from the registry.
        package_sha256: what the registry's tag says package.json hashes to, when known.

    Raises:
        CorruptDataError: a file is missing, altered or unlisted.
    """
    index = folder / INDEX_FILE
    if package_sha256 is not None and sha256_file(index) != package_sha256:
        raise CorruptDataError(f"{index} is not the one that was registered.", hint=_AGAIN)
    listed: dict[str, str] = json.loads(read_bytes(index))["files"]
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {INDEX_FILE}
    for name in sorted(present ^ set(listed)):
        fault = "not listed in" if name in present else "missing from"
        raise CorruptDataError(f"{folder / name} is {fault} the package.", hint=_AGAIN)
    for name, digest in listed.items():
        if sha256_file(folder / name) != digest:
            raise CorruptDataError(f"{folder / name} was altered.", hint=_AGAIN)
    return read_record(folder)


def read_record(folder: Path) -> GeneratorRecord:
    """The record in generator.json of `folder`; raises CorruptDataError or StorageError."""
    path = folder / "generator.json"
    return GeneratorRecord.from_json(read_bytes(path), str(path))
