"""What a run costs on this machine, measured on a copy of it that is thrown away.

Random clips take the place of the dataset's: a step costs the same whatever they show.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ..models.cost import network_cost
from .budget import measure, propose_budget
from .compiling import pick_fastest_kernels, tell_of_compiling
from .determinism import make_deterministic
from .distributed import World, joined
from .estimate import Memory, NetworkCost, PartCost, Probe
from .failures import memory_told
from .loop import build_state, choose_device, device_name, set_threads, trial_step
from .plan import RunConfig
from .snapshot import state_bytes
from .source import spare_bytes
from .step import TrainState

SECONDS = 60.0  # the time budget as which a budget in clips is measured


def probe(config: RunConfig) -> Probe | None:
    """Build the networks, take a few steps, and say what they took; raises what training would raise.

    Of several processes the first one speaks; the others return None.
    """
    device = choose_device(config.config.device)
    with joined(device.type) as world, memory_told(config, device):
        if config.config.deterministic:
            make_deterministic()
        else:
            pick_fastest_kernels(device)
        set_threads(config, world)
        if world.leads:
            tell_of_compiling(config.config.compile, device)
        found = _probe(config, device, world)
        return found if world.leads else None


def _probe(config: RunConfig, device: torch.device, world: World) -> Probe:
    spare = spare_bytes(device)
    state = build_state(config, device, world)
    generator, discriminator = _costs(config, state)
    part = world.part(config.recipe.batch)
    video_BCTHW, label_B = _clips(config, part.stop - part.start, device)

    def step() -> None:
        trial_step(config, state, video_BCTHW, label_B)

    before = _allocated(device)
    step()
    memory = _memory(state, device, before, spare)
    budget = propose_budget(config, device, step, world)
    speed = budget.clips_per_second
    return Probe(
        device=device_name(device),
        bf16=budget.bf16,
        threads=torch.get_num_threads(),
        compiled=state.passes.compiled,
        processes=world.size,
        steps=budget.steps,
        seconds_per_step=config.recipe.batch / speed if speed else measure(device, step, SECONDS, world),
        checkpoint_bytes=state_bytes(state),
        memory=memory,
        generator=generator,
        discriminator=discriminator,
    )


def _clips(config: RunConfig, num: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """uint8 noise [B, 3, T, H, W] and classes [B]."""
    shape = config.shape
    size = (num, 3, shape.frames, shape.height, shape.width)
    video_BCTHW = torch.randint(256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    label_B = torch.arange(num, device=device) % shape.labels if shape.labels else None
    return video_BCTHW.to(device), label_B


def _costs(config: RunConfig, state: TrainState) -> tuple[NetworkCost, NetworkCost]:
    """Of the generator and the discriminator, for one clip."""
    device = next(state.generator.parameters()).device
    video_BCTHW, label_B = _clips(config, 1, device)
    z_BZ = torch.zeros(1, state.generator.latent, device=device)
    return (
        _cost(state.generator, z_BZ, label_B),
        _cost(state.discriminator, video_BCTHW.float(), label_B),
    )


def _cost(network: nn.Module, *inputs: Tensor | None) -> NetworkCost:
    parts = network_cost(network, *inputs)
    return NetworkCost(
        parameters=sum(part.parameters for part in parts),
        macs=sum(part.macs for part in parts),
        parts=tuple(PartCost(name=part.name, parameters=part.parameters, macs=part.macs) for part in parts),
    )


def _memory(state: TrainState, device: torch.device, before: int, spare: int) -> Memory:
    """What the first step took; `before` is what was taken when its networks stood."""
    trained = (state.generator, state.discriminator)
    weights = sum(value.nbytes for network in trained for value in network.state_dict().values())
    gradients = sum(value.nbytes for network in trained for value in network.parameters())
    peak = _peak(device)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=2 * gradients,
        average=state_bytes(state) - weights - 2 * gradients,
        step=max(0, peak - before - 3 * gradients),
        peak=peak,
        spare=spare,
        device=_whole(device),
    )


def _allocated(device: torch.device) -> int:
    """Bytes that this process takes on the device now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return psutil.Process().memory_info().rss


def _peak(device: torch.device) -> int:
    """The most that this process has taken on the device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()  # Metal keeps what was freed
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` says there the peak of whoever started this process, too
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


def _whole(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else psutil.virtual_memory().total
