"""The weights that a run starts from: found by their name, checked, and kept under their hash. Needs no torch.

`TrainConfig.init` may be a name whose meaning moves (models:/NAME@champion) or a file that goes away. What
counts is the hash: it is part of the run's key, and the weights under it lie in the workspace from then on,

    initial/<sha256>.safetensors    the file, as it was found
    initial/<sha256>.json           Initial record

so a run that was interrupted needs neither the registry nor the other run to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..config import TrainConfig
from ..errors import ConfigError, CorruptDataError, RegistryError, StorageError
from ..records import Dataset, GeneratorRecord, Record, TrainedRun
from ..storage import read_bytes, sha256_file, write_atomic
from ..workspace import Workspace
from .manifest import MANIFESTS, read_manifest
from .plan import RunConfig, read_config, run_key

log = logging.getLogger(__name__)

REGISTERED = "models:/"
SUFFIX = ".safetensors"
KNOWN_FAMILY = RunConfig.model_fields["family"].default
FORMS = (
    "Write models:/NAME@champion, models:/NAME/VERSION, the key of a run, or a checkpoint's file (NAME.safetensors, "
    "with its .json beside it)."
)

# Gives, while it is open, the folder of a registered model's generator and the version's name, "NAME/VERSION".
Locator = Callable[[str], AbstractContextManager[tuple[Path, str]]]


class Initial(Record):
    """What is known of the weights in initial/<sha256>.safetensors."""

    source: str  # for people: "models:/shapes/3" or "run shapes-1f0c, step 1200"
    sha256: str
    family: str
    labels: tuple[str, ...]
    checkpoint: bool  # the file holds a whole training state, not a generator alone


def adopt(workspace: Workspace, dataset: Dataset, config: TrainConfig, locate: Locator | None = None) -> str | None:
    """Find the weights that `config.init` names and keep them in the workspace.

    When they cannot be found any more but a run of this dataset and configuration has started from them, that
    run goes on: it is said, and its weights are taken.

    Args:
        workspace: where they are kept, and where runs are looked for.
        dataset: what is trained on.
        config: says by `init` which weights; None takes fresh ones.
        locate: finds registered models.

    Returns:
        sha256 of the file; None without `init`.

    Raises:
        ConfigError: there is no such model, run or file, or it is of another family.
        CorruptDataError: the weights are not those that were written.
        RegistryError: the registry does not answer.
        StorageError: a file cannot be read or written.
    """
    if config.init is None:
        return None
    try:
        return _find(workspace, config.init, locate)
    except (ConfigError, CorruptDataError, RegistryError, StorageError) as error:
        known = _started_before(workspace, dataset, config)
        if known is None:
            raise
        log.warning("%s Going on with the run that started from what %s was then.", error.message, config.init)
        return known


def _find(workspace: Workspace, asked: str, locate: Locator | None) -> str:
    if asked.startswith(REGISTERED):
        if locate is None:
            raise ConfigError(f"{asked} is in a registry, which the library does not know.", hint="Use `vgan train`.")
        with locate(asked) as (folder, name):
            return _keep_generator(workspace, folder, f"{REGISTERED}{name}")
    if "/" in asked or "." in asked or "\\" in asked:
        return _of_file(workspace, Path(asked).expanduser())
    return _of_run(workspace, asked)


def _of_run(workspace: Workspace, asked: str) -> str:
    """A finished run's last checkpoint, else its generator; an unfinished run's newest sound checkpoint."""
    try:
        folder = workspace.run(asked)
    except ConfigError as error:
        raise ConfigError(f"cannot start from {asked!r}: it is no run's key.", hint=FORMS) from error
    finished = None
    if folder.record.exists():
        finished = TrainedRun.from_json(read_bytes(folder.record), str(folder.record))
    faults: list[str] = []
    for manifest in sorted(folder.checkpoints.glob(MANIFESTS), reverse=True):
        try:
            if finished is None or int(manifest.stem) == finished.steps:
                return _keep_checkpoint(workspace, manifest)
        except (CorruptDataError, ConfigError, StorageError) as error:
            faults.append(error.message)
            log.warning("passing over checkpoint %s: %s", manifest.stem, error.message)
    if finished is not None:
        return _keep_generator(workspace, folder.generator, f"run {asked}, finished")
    if faults:
        raise CorruptDataError(f"run {asked} has no sound checkpoint to start from: {faults[0]}")
    known = ", ".join(workspace.run_keys()[:10]) or "none"
    raise ConfigError(f"there is no run {asked!r} in {workspace.root} to start from.", hint=f"{FORMS} Runs: {known}.")


def _of_file(workspace: Workspace, path: Path) -> str:
    if path.suffix != SUFFIX:
        raise ConfigError(f"cannot start from {path}: it is no {SUFFIX} file, and no other is ever opened.", hint=FORMS)
    if not path.is_file():
        raise ConfigError(f"there is no file {path} to start from.", hint=FORMS)
    if (path.parent / "generator.json").is_file():
        return _keep_generator(workspace, path.parent, f"file {path}")
    manifest = path.with_suffix(".json")
    if not manifest.is_file():
        raise ConfigError(f"{path} has no {manifest.name} beside it, which says what it holds.", hint=FORMS)
    return _keep_checkpoint(workspace, manifest)


def _keep_generator(workspace: Workspace, folder: Path, source: str) -> str:
    record = GeneratorRecord.from_json(read_bytes(folder / "generator.json"), str(folder / "generator.json"))
    initial = Initial(
        source=source, sha256=record.weights_sha256, family=record.family, labels=record.labels, checkpoint=False
    )
    return _keep(workspace, folder / "weights.safetensors", initial)


def _keep_checkpoint(workspace: Workspace, manifest: Path) -> str:
    record = read_manifest(manifest)
    made: dict[str, Any] = record.made_with
    initial = Initial(
        source=f"run {made['run']}, step {record.steps}",
        sha256=record.weights_sha256,
        family=made["family"],
        labels=tuple(made["labels"]),
        checkpoint=True,
    )
    return _keep(workspace, manifest.with_suffix(SUFFIX), initial)


def _keep(workspace: Workspace, weights: Path, initial: Initial) -> str:
    """Copy the file below initial/, its record last; what is there already with this hash is left as it is."""
    if initial.family != KNOWN_FAMILY:
        raise ConfigError(
            f"{initial.source} is of family {initial.family!r}, and a {KNOWN_FAMILY!r} run cannot use it."
        )
    kept = workspace.initial(initial.sha256)
    if not (kept.exists() and sha256_file(kept) == initial.sha256):
        if not weights.is_file():
            raise CorruptDataError(f"{weights} is missing.", hint="Restore it from a backup, or start from others.")
        if sha256_file(weights) != initial.sha256:
            raise CorruptDataError(
                f"{weights} does not have the recorded sha256.", hint="Restore it from a backup, or start from others."
            )
        write_atomic(kept, read_bytes(weights))
    write_atomic(kept.with_suffix(".json"), initial.to_json())
    return initial.sha256


def _started_before(workspace: Workspace, dataset: Dataset, config: TrainConfig) -> str | None:
    """The hash of kept weights from which a run of this dataset and configuration has started under this name."""
    for record in sorted(workspace.initial("x").parent.glob("*.json")):
        folder = workspace.run(run_key(dataset, config, record.stem))
        if folder.config.exists() and read_config(folder).config.init == config.init:
            return record.stem
    return None


def read_initial(workspace: Workspace, sha256: str) -> tuple[Initial, bytes]:
    """The kept record and the file's content; raises CorruptDataError unless they are whole."""
    path = workspace.initial(sha256)
    initial = Initial.from_json(read_bytes(path.with_suffix(".json")), str(path.with_suffix(".json")))
    if initial.sha256 != sha256 or sha256_file(path) != sha256:
        raise CorruptDataError(
            f"{path} is not the file that the run starts from.", hint="Remove it and run the same command again."
        )
    return initial, read_bytes(path)
