"""Checkpoints: tensors, then a manifest with their sha256, each whole or not at all.

checkpoints/00000120.safetensors   every tensor of the TrainState after step 120
checkpoints/00000120.json          Checkpoint record, written last: what no manifest names does not exist

A checkpoint is taken only by the run that it was made for. There is no way to force another: a
run's folder is named by what the run is (plan.run_key), so a foreign checkpoint in it is a
mistake, and what may change between two attempts (device, threads and the like) is not compared.
Weights of another run are taken over with `init`.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load

from ..errors import ConfigError, CorruptDataError
from ..storage import read_bytes, storage_errors
from ..workspace import RunFolder
from .manifest import MANIFESTS, Checkpoint, read_manifest
from .plan import NOT_LEARNED, RunConfig
from .snapshot import restore
from .step import TrainState

log = logging.getLogger(__name__)

# The run's key says which weights `init` names, whatever their name is now.
NOT_COMPARED = NOT_LEARNED | {"init"}
FIELDS_SHOWN = 12


def compared(config: RunConfig) -> dict[str, Any]:
    """What of a run must be equal for a checkpoint to be taken: all but NOT_COMPARED."""
    fields = config.model_dump(mode="json")
    asked = {name: value for name, value in fields["config"].items() if name not in NOT_COMPARED}
    return fields | {"config": asked}


def resume(folder: RunFolder, state: TrainState, config: RunConfig) -> Checkpoint | None:
    """Put the newest valid checkpoint into `state` and cut metrics.jsonl back to it.

    A damaged checkpoint is passed over, with a warning, for the one before it.

    Returns:
        The checkpoint; None when the run has none yet and starts from the beginning.

    Raises:
        CorruptDataError: there are checkpoints and none is valid.
        ConfigError: the newest is sound, but of another run or another version of vgan.
    """
    manifests = sorted(folder.checkpoints.glob(MANIFESTS), reverse=True)
    for manifest in manifests:
        try:
            record = _read(folder, manifest, state, config)
        except CorruptDataError as error:
            log.warning("passing over checkpoint %s: %s", manifest.stem, error)
            continue
        _cut(folder.metrics, record.metrics_bytes)
        return record
    if manifests:
        raise CorruptDataError(
            f"none of the {len(manifests)} checkpoints in {folder.checkpoints} is valid.",
            hint=f"Restore one from a backup, or remove {folder.path} to train from the beginning.",
        )
    if folder.metrics.exists() and folder.metrics.stat().st_size:
        log.warning("%s has no checkpoint yet: its training begins again", folder.path)
    _cut(folder.metrics, 0)
    return None


def _read(folder: RunFolder, manifest: Path, state: TrainState, config: RunConfig) -> Checkpoint:
    record = read_manifest(manifest)
    if record.steps != int(manifest.stem):
        raise CorruptDataError(f"it is of step {record.steps}.")
    _refuse_foreign(record, manifest, config)
    metrics = folder.metrics.read_bytes()[: record.metrics_bytes] if folder.metrics.exists() else b""
    if hashlib.sha256(metrics).hexdigest() != record.metrics_sha256:
        raise CorruptDataError(f"{folder.metrics} does not begin with the lines that it had then.")
    path = manifest.with_suffix(".safetensors")
    if not path.exists():
        raise CorruptDataError(f"{path} is missing.")
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise CorruptDataError(f"{path} does not have the recorded sha256.")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise CorruptDataError(f"{path} is not a safetensors file: {error}") from error
    restore(state, tensors)
    state.steps = record.steps
    return record


def _refuse_foreign(record: Checkpoint, manifest: Path, config: RunConfig) -> None:
    was, now = _flat(record.made_with), _flat(compared(config))
    differing = [
        f"{name}: {was.get(name, '(not there)')} -> {now.get(name, '(not there)')}"
        for name in sorted(was.keys() | now.keys())
        if name not in was or name not in now or was[name] != now[name]
    ]
    if differing:
        more = [f"and {len(differing) - FIELDS_SHOWN} more"] if differing[FIELDS_SHOWN:] else []
        raise ConfigError(
            f"checkpoint {manifest} was made for another run; {len(differing)} fields differ (its -> this run's): "
            f"{'; '.join(differing[:FIELDS_SHOWN] + more)}.",
            hint="Move it back to the run that it belongs to; to start from its weights, name it with --init.",
        )


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested JSON objects by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            leaves |= _flat(cast(dict[str, Any], value), f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def _cut(metrics: Path, length: int) -> None:
    if metrics.exists():
        with storage_errors(metrics, "cutting back"), open(metrics, "r+b") as file:
            file.truncate(length)
