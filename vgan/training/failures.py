"""What ends a training by itself: figures that are not finite, and memory that ran out. Both are told with a remedy."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Generator
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, DivergedError, StorageError
from ..storage import write_atomic
from ..workspace import RunFolder
from .manifest import newest
from .plan import RunConfig
from .step import TrainState

LINES = 20  # of metrics.jsonl that are told
# How other RuntimeErrors of torch say so: its CPU allocator, MPS and CUDA itself, cuBLAS and cuDNN.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


@contextlib.contextmanager
def divergence_told(folder: RunFolder, state: TrainState) -> Generator[None]:
    """Write diverged.json for a DivergedError, and name in it the last good checkpoint; both are no checkpoint."""
    try:
        yield
    except DivergedError as error:
        last = newest(folder)
        good = "There is no checkpoint yet"
        if last is not None:
            good = f"The last good checkpoint is {last.with_suffix('.safetensors')} (step {int(last.stem)})"
        with contextlib.suppress(StorageError):  # a full disk must not hide what happened
            write_atomic(folder.diverged, json.dumps(_diagnosis(folder, state, error), indent=1).encode() + b"\n")
        raise DivergedError(
            f"{error.message} {good}; what was seen is in {folder.diverged}.",
            hint=error.hint or "Train with another seed or a larger batch.",
        ) from error


def _diagnosis(folder: RunFolder, state: TrainState, error: DivergedError) -> dict[str, Any]:
    lines = folder.metrics.read_bytes().splitlines()[-LINES:] if folder.metrics.exists() else []
    last = newest(folder)
    return {
        "step": state.steps + 1,
        "what": error.message,
        "last_checkpoint": None if last is None else int(last.stem),
        "metrics": [json.loads(line) for line in lines],
        "layers": {"generator": _layers(state.generator), "discriminator": _layers(state.discriminator)},
    }


def _layers(model: nn.Module) -> dict[str, dict[str, float | str | None]]:
    """Length of each parameter, and of its gradient where one is left, after the update that was not taken."""
    return {
        name: {
            "weight": _length(parameter),
            "gradient": None if parameter.grad is None else _length(parameter.grad),
        }
        for name, parameter in model.named_parameters()
    }


def _length(value: torch.Tensor) -> float | str:
    length = math.sqrt(float(value.detach().double().square().sum()))
    return length if math.isfinite(length) else str(length)  # JSON has no word for it


@contextlib.contextmanager
def memory_told(config: RunConfig, device: torch.device) -> Generator[None]:
    """Turn memory that ran out into a ConfigError: the same command would run out again."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        told = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not told and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        shape = config.shape
        raise ConfigError(
            f"memory of {device} ran out with preset {config.config.preset}, batch {config.recipe.batch}, clips of "
            f"{shape.frames} frames of {shape.height} x {shape.width}{_peak(device)}: {_first_line(error)}",
            hint=f"Take a smaller --batch (now {config.recipe.batch}) or --preset, or ingest smaller or shorter clips; "
            "nothing is made smaller unasked, since that would train another model.",
        ) from error


def _peak(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    peak, (_, total) = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)
    return f", at a peak of {peak / 2**30:.2f} of {total / 2**30:.2f} GiB"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
