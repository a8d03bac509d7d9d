"""Saving and resuming: safetensors, then a manifest with its sha256, each whole or not at all.

checkpoints/00000120.safetensors   every tensor of the TrainState after step 120
checkpoints/00000120.json          Checkpoint record, written last: what no manifest names does not exist
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import CorruptDataError
from ..records import Record
from ..storage import fault_point, read_bytes, storage_errors, sweep_temporary, write_atomic
from ..workspace import RunFolder
from .step import TrainState

log = logging.getLogger(__name__)

KEPT = 3


class Checkpoint(Record):
    """The manifest of one checkpoint."""

    run: str
    training_code: int
    steps: int
    weights_sha256: str
    metrics_bytes: int  # length of metrics.jsonl at this step; what follows is cut off on resume
    metrics_sha256: str  # of these bytes
    seconds: float  # wall clock of training so far, all attempts together


def save_checkpoint(folder: RunFolder, state: TrainState, run: str, training_code: int, seconds: float) -> None:
    """Write the state after `state.steps` steps and remove all but the newest few."""
    content = save(dict(_tensors(state)))
    stem = folder.checkpoints / f"{state.steps:08d}"
    metrics = folder.metrics.read_bytes() if folder.metrics.exists() else b""
    write_atomic(stem.with_suffix(".safetensors"), content)
    fault_point("before_manifest")
    record = Checkpoint(
        run=run,
        training_code=training_code,
        steps=state.steps,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        metrics_bytes=len(metrics),
        metrics_sha256=hashlib.sha256(metrics).hexdigest(),
        seconds=seconds,
    )
    write_atomic(stem.with_suffix(".json"), record.to_json())
    _remove_old(folder.checkpoints)


def _remove_old(folder: Path) -> None:
    for manifest in sorted(folder.glob("????????.json"))[:-KEPT]:
        manifest.unlink()  # before the tensors: a manifest never names what is gone
    for tensors in folder.glob("????????.safetensors"):
        if not tensors.with_suffix(".json").exists():
            tensors.unlink()
    sweep_temporary(folder)


def resume(folder: RunFolder, state: TrainState, run: str, training_code: int) -> Checkpoint | None:
    """Put the newest valid checkpoint into `state` and cut metrics.jsonl back to it.

    A damaged checkpoint is passed over, with a warning, for the one before it.

    Returns:
        The checkpoint; None when the run has none yet and starts from the beginning.

    Raises:
        CorruptDataError: there are checkpoints and none is valid.
    """
    manifests = sorted(folder.checkpoints.glob("????????.json"), reverse=True)
    for manifest in manifests:
        try:
            record = _read(folder, manifest, state, run, training_code)
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
    _cut(folder.metrics, 0)
    return None


def _read(folder: RunFolder, manifest: Path, state: TrainState, run: str, training_code: int) -> Checkpoint:
    record = Checkpoint.from_json(read_bytes(manifest), str(manifest))
    for name, found, wanted in (
        ("run", record.run, run),
        ("training code", record.training_code, training_code),
        ("step", record.steps, int(manifest.stem)),
    ):
        if found != wanted:
            raise CorruptDataError(f"it is of another {name}: {found!r}, not {wanted!r}.")
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
    _restore(state, tensors)
    state.steps = record.steps
    return record


def _cut(metrics: Path, length: int) -> None:
    if metrics.exists():
        with storage_errors(metrics, "cutting back"), open(metrics, "r+b") as file:
            file.truncate(length)


def _parts(state: TrainState) -> list[tuple[str, nn.Module, torch.optim.Adam | None]]:
    return [
        ("generator", state.generator, state.adam_generator),
        ("discriminator", state.discriminator, state.adam_discriminator),
        ("average", state.average, None),
    ]


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state by name, contiguous, on the CPU; Adam's beside the parameter it belongs to."""
    for part, model, adam in _parts(state):
        for name, value in model.state_dict().items():
            yield f"{part}.{name}", value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters():
            moments: dict[str, Tensor] = adam.state[parameter] if adam else {}
            for key, value in moments.items():
                yield f"{part}.{name}:adam.{key}", value.detach().cpu().contiguous()


def _restore(state: TrainState, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into the state; raises CorruptDataError, having changed nothing, when names or shapes differ."""
    wanted: dict[str, Tensor] = {}
    moments: dict[torch.optim.Adam, dict[nn.Parameter, dict[str, Tensor]]] = {}
    for part, model, adam in _parts(state):
        wanted |= {f"{part}.{name}": value for name, value in model.state_dict().items()}
        if adam is None or not any(name.startswith(f"{part}.") and ":adam." in name for name in tensors):
            continue
        for name, parameter in model.named_parameters():
            # The layout of the parameter, so that the resumed arithmetic is that of an undisturbed run.
            fresh = {"step": torch.zeros(())} | {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            moments.setdefault(adam, {})[parameter] = fresh
            wanted |= {f"{part}.{name}:adam.{key}": value for key, value in fresh.items()}
    differing = sorted(
        name
        for name in wanted.keys() | tensors.keys()
        if name not in wanted or name not in tensors or wanted[name].shape != tensors[name].shape
    )
    if differing:
        raise CorruptDataError(
            f"its tensors are not those of this network; {len(differing)} differ, first {differing[0]}."
        )
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(tensors[name])
    for adam, parameters in moments.items():
        for parameter, fresh in parameters.items():
            adam.state[parameter] = fresh
