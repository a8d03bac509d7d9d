"""The training state as named tensors: taken out in a moment, written in safetensors' format, put back.

What a TrainState holds is found by looking at its fields, so that nothing that is added to it
can be forgotten: modules and optimizers, tensors, and dataclasses of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import IO, Any

import torch
from torch import Tensor, nn

from ..errors import CorruptDataError
from ..storage import fault_point
from .step import TrainState

NOT_HELD = {"steps", "passes", "guard", "world"}  # the manifest has the steps; the others say how it is computed
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps for a parameter
# Names of the format; https://huggingface.co/docs/safetensors, "Format".
DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint8: "U8", torch.bool: "BOOL"},
}


@dataclasses.dataclass
class _Parts:
    """What is found in a state: its modules and tensors by name, and its optimizers."""

    modules: dict[str, nn.Module]
    tensors: dict[str, Tensor]
    optimizers: list[torch.optim.Optimizer]

    def tensors_of_modules(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, and the state's own tensors."""
        found = dict(self.tensors)
        for part, module in self.modules.items():
            found |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        return found

    def optimized(self) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer, dict[str, Any]]]:
        """Each parameter that is trained, with its name, its optimizer and its group there."""
        groups = {
            id(parameter): (adam, group)
            for adam in self.optimizers
            for group in adam.param_groups
            for parameter in group["params"]
        }
        for part, module in self.modules.items():
            for name, parameter in module.named_parameters():
                if id(parameter) in groups:
                    yield f"{part}.{name}", parameter, *groups[id(parameter)]


def _parts_of(state: Any, prefix: str = "") -> _Parts:
    found = _Parts({}, {}, [])
    for field in dataclasses.fields(state):
        name, value = prefix + field.name, getattr(state, field.name)
        if name in NOT_HELD or value is None:
            continue
        if isinstance(value, nn.Module):
            found.modules[name] = value
        elif isinstance(value, Tensor):
            found.tensors[name] = value
        elif isinstance(value, torch.optim.Optimizer):
            found.optimizers.append(value)
        elif dataclasses.is_dataclass(value):
            inner = _parts_of(value, f"{name}.")
            found = _Parts(
                found.modules | inner.modules, found.tensors | inner.tensors, found.optimizers + inner.optimizers
            )
        else:
            raise TypeError(f"a checkpoint cannot hold {name}, a {type(value).__name__}")
    return found


def named_tensors(state: TrainState) -> dict[str, Tensor]:
    """Every tensor of the state, as it is: `generator.rgb.weight`, Adam's as `generator.rgb.weight:adam.exp_avg`."""
    parts = _parts_of(state)
    found = parts.tensors_of_modules()
    for name, parameter, adam, _ in parts.optimized():
        found |= {f"{name}:adam.{key}": value for key, value in adam.state.get(parameter, {}).items()}
    return {name: value.detach() for name, value in found.items()}


def state_bytes(state: TrainState) -> int:
    """Size of a checkpoint's tensors once every optimizer has taken a step."""
    parts = _parts_of(state)
    moments = 2 * sum(parameter.nbytes for _, parameter, _, _ in parts.optimized())
    return sum(value.nbytes for value in parts.tensors_of_modules().values()) + moments


class Snapshots:
    """Copies a state into memory of its own, the same memory each time.

    On a GPU the copy runs into pinned memory behind the steps that were asked for, and nobody waits for it.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, state: TrainState) -> dict[str, Tensor]:
        """Start the copy; what it returns may be read after `wait`, until the next `take`."""
        taken: dict[str, Tensor] = {}
        on_gpu = False
        for name, value in named_tensors(state).items():
            memory = self._memory.get(name)
            if memory is None or memory.shape != value.shape or memory.dtype != value.dtype:
                memory = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            memory.copy_(value, non_blocking=value.is_cuda)
            taken[name] = self._memory[name] = memory
            on_gpu |= value.is_cuda
        if on_gpu:
            self._copied = torch.cuda.Event()
            self._copied.record()
        return taken

    def wait(self) -> None:
        """Wait until the last copy is whole."""
        if self._copied is not None:
            self._copied.synchronize()


def write_tensors(file: IO[bytes], tensors: dict[str, Tensor]) -> str:
    """Write contiguous CPU tensors as safetensors, one after another without a copy of all; returns the sha256.

    The library's own `save` makes the whole file in memory, twice.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # every tensor is aligned
    header: dict[str, Any] = {}
    position = 0
    for name in names:
        value = tensors[name]
        place = [position, position := position + value.nbytes]
        header[name] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    pieces: list[bytes | Tensor] = [len(text).to_bytes(8, "little") + text, *(tensors[name] for name in names)]
    for number, piece in enumerate(pieces):
        content = memoryview(piece if isinstance(piece, bytes) else piece.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        digest.update(content)
        file.write(content)
        if number == len(names) // 2:
            file.flush()
            fault_point("half_written")
    return digest.hexdigest()


def restore(state: TrainState, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into the state; raises CorruptDataError, having changed nothing, when they are not its."""
    parts = _parts_of(state)
    wanted = parts.tensors_of_modules()
    moments: dict[str, dict[str, Tensor]] = {}
    for name, parameter, _, group in parts.optimized():
        if any(f"{name}:adam.{key}" in tensors for key in MOMENTS):
            moments[name] = _fresh_moments(parameter, group)
            wanted |= {f"{name}:adam.{key}": value for key, value in moments[name].items()}
    differing = sorted(
        name
        for name in wanted.keys() | tensors.keys()
        if name not in wanted
        or name not in tensors
        or (wanted[name].shape, wanted[name].dtype) != (tensors[name].shape, tensors[name].dtype)
    )
    if differing:
        raise CorruptDataError(
            f"its tensors are not those of this network; {len(differing)} differ, first {differing[0]}."
        )
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(tensors[name])
    for adam in parts.optimizers:
        adam.state.clear()
    for name, parameter, adam, _ in parts.optimized():
        if name in moments:
            adam.state[parameter] = moments[name]


def _fresh_moments(parameter: nn.Parameter, group: dict[str, Any]) -> dict[str, Tensor]:
    """Adam's tensors for a parameter, laid out as it lays them out, so that the resumed arithmetic is the same."""
    on_device = bool(group.get("fused") or group.get("capturable"))
    return {
        "step": torch.zeros((), device=parameter.device if on_device else "cpu"),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }
