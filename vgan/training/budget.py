"""From a time budget to a clip budget: measure once, write it down, never measure again.

Schedules and resume count clips, so a run must know its clips before the first step. A time
budget is measured by a few steps of a throw-away copy of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..config import Budget
from ..storage import write_atomic
from ..workspace import RunFolder
from .distributed import ALONE, World
from .plan import RunBudget, RunConfig, budget_steps, read_budget

WARM_STEPS = 3
PROBE_SHARE = 0.03  # of the time budget
PROBE_SECONDS = (0.5, 10.0)
RESERVE = 0.96  # the share of the time that is planned; the rest is for checkpoints and sample grids


def decide_budget(
    folder: RunFolder,
    config: RunConfig,
    device: torch.device,
    step: Callable[[], object],
    world: World = ALONE,
) -> RunBudget:
    """Read the run's budget, or measure and record it; all ranks measure, and the first one's clock decides.

    Args:
        folder: of the run.
        config: of the run.
        device: where it trains.
        step: takes one training step of a copy that is thrown away, with all ranks.
        world: the processes that train together.
    """
    known = read_budget(folder) if world.leads else None
    if not world.first(known is not None):
        known = propose_budget(config, device, step, world)
        if world.leads:
            write_atomic(folder.plan, known.to_json())
        world.first(0)  # it is written from here on
    if not world.leads:
        known = read_budget(folder)
    assert known is not None
    return known


def propose_budget(
    config: RunConfig, device: torch.device, step: Callable[[], object], world: World = ALONE
) -> RunBudget:
    """The budget that a run which starts now on `device` would get; measures `step` when it is one of time."""
    started = time.monotonic()
    seconds = Budget.parse(config.config.budget).seconds
    per_step = None if seconds is None else measure(device, step, seconds, world)
    left = 0.0 if seconds is None else (seconds - (time.monotonic() - started)) * RESERVE
    steps = budget_steps(config, per_step or 1.0, left)
    return RunBudget(
        run=config.run,
        steps=steps,
        clips=steps * config.recipe.batch,
        bf16=supports_bf16(device),
        clips_per_second=None if per_step is None else round(config.recipe.batch / per_step, 2),
    )


def measure(device: torch.device, step: Callable[[], object], budget_seconds: float, world: World = ALONE) -> float:
    """Median seconds of one step, after a few to warm up; each rank measures, for as many steps as the first."""
    for _ in range(WARM_STEPS):
        step()
    low, high = PROBE_SECONDS
    deadline = time.monotonic() + min(max(PROBE_SHARE * budget_seconds, low), high)
    times: list[float] = []
    while not times or world.first(time.monotonic() < deadline):
        _wait(device)
        started = time.monotonic()
        step()
        _wait(device)
        times.append(time.monotonic() - started)
    return sorted(times)[len(times) // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def supports_bf16(device: torch.device) -> bool:
    """Whether this device computes in bfloat16 faster than in float32: newer GPUs, CPUs with AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage]: no public name
    return False
