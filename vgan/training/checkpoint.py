"""Checkpoints: tensors, then a manifest with their sha256, each whole or not at all.

checkpoints/00000120.safetensors   every tensor of the TrainState after step 120
checkpoints/00000120.json          Checkpoint record, written last: what no manifest names does not exist

A checkpoint is taken only by the run that it was made for. There is no way to force another: a
run's folder is named by what the run is (plan.run_key), so a foreign checkpoint in it is a
mistake, and what may change between two attempts (device, threads and the like) is not compared.
Weights of another run are taken over with `init`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from ..errors import CorruptDataError
from ..storage import storage_errors
from ..workspace import RunFolder
from .manifest import Checkpoint, newest_sound, read_checked
from .plan import RunConfig
from .snapshot import restore
from .step import TrainState

log = logging.getLogger(__name__)


def resume(folder: RunFolder, state: TrainState, config: RunConfig) -> Checkpoint | None:
    """Put the newest valid checkpoint into `state` and cut metrics.jsonl back to it.

    A damaged checkpoint is passed over, with a warning, for the one before it.

    Returns:
        The checkpoint; None when the run has none yet and starts from the beginning.

    Raises:
        CorruptDataError: there are checkpoints and none is valid.
        ConfigError: the newest is sound, but of another run or another version of vgan.
    """
    record = newest_sound(folder, lambda manifest: _read(folder, manifest, state, config))
    if record is not None:
        _cut(folder.metrics, record.metrics_bytes)
        return record
    if folder.metrics.exists() and folder.metrics.stat().st_size:
        log.warning("%s has no checkpoint yet: its training begins again", folder.path)
    _cut(folder.metrics, 0)
    return None


def _read(folder: RunFolder, manifest: Path, state: TrainState, config: RunConfig) -> Checkpoint:
    record, content = read_checked(folder, manifest, config)
    path = manifest.with_suffix(".safetensors")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise CorruptDataError(f"{path} is not a safetensors file: {error}") from error
    restore(state, tensors)
    state.steps = record.steps
    return record


def _cut(metrics: Path, length: int) -> None:
    if metrics.exists():
        with storage_errors(metrics, "cutting back"), open(metrics, "r+b") as file:
            file.truncate(length)
