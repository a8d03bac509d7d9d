"""The training loop, to be read from top to bottom: report, checkpoint, done?, step."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import __version__
from ..data.buckets.published import ensure_local
from ..data.decoding.pool import cores
from ..data.loading.loader import ClipSet
from ..data.manifest import load_dataset
from ..errors import ConfigError, CorruptDataError, ResumableError
from ..models.families import build_discriminator, build_generator, family
from ..records import GeneratorRecord
from ..storage import fault_point, storage_errors
from ..workspace import RunFolder, Workspace
from .budget import decide_budget, supports_bf16
from .checkpoint import resume
from .compiling import pick_fastest_kernels, should_compile, tell_of_compiling
from .determinism import make_deterministic
from .distributed import ALONE, World, joined
from .export import Ending, commit_run
from .failures import divergence_told, memory_told
from .heartbeat import Pulse
from .plan import RunBudget, RunConfig, read_config
from .preview import write_final, write_sheet
from .saving import CheckpointWriter, warn_of_little_room
from .source import ClipSource
from .step import TrainState, step_seed, train_step
from .warm_start import take_over
from .watch import Watch, ended, look_due, open_watch

log = logging.getLogger(__name__)

REPORTS = 200  # lines of metrics.jsonl over the whole budget


@dataclass
class Run:
    """A run in progress: what it was asked, where it is, and how it is told to stop."""

    folder: RunFolder
    config: RunConfig
    device: torch.device
    source: ClipSource
    budget: RunBudget
    state: TrainState
    checkpoints: CheckpointWriter
    watch: Watch | None  # of the rank that leads
    stop: Callable[[], bool]
    seconds_before: float = 0.0  # wall clock of earlier attempts
    started: float = field(default_factory=time.monotonic)
    steps_before: int = 0  # of earlier attempts

    @property
    def seconds(self) -> float:
        """Wall clock of training, all attempts together."""
        return self.seconds_before + time.monotonic() - self.started


def train_run(workspace: Workspace, key: str, stop: Callable[[], bool]) -> None:
    """Train a prepared run to its end, from its newest checkpoint if it has one.

    Args:
        workspace: holds the dataset and the run.
        key: of a run with a config.json.
        stop: asked after every step; True checkpoints and raises ResumableError.
    """
    started = time.monotonic()
    device = choose_device(read_config(workspace.run(key)).config.device)
    with joined(device.type) as world:
        run = open_run(workspace, key, stop, world)
        run.started = started
        if world.leads:
            _lead(run)
        else:
            _follow(run)


def _follow(run: Run) -> None:
    """What the other ranks do: the same steps, until the first one ends, and nothing else."""
    while run.state.steps < run.budget.steps and not ended(run.config, run.state.streaks):
        with memory_told(run.config, run.device):
            step_once(run)
        over = look_due(run.config, run.budget, run.state.steps) and run.state.world.any(False)
        stopping = run.state.world.any(run.stop())
        if over:
            break
        if stopping and run.state.steps < run.budget.steps:
            raise ResumableError(f"stopped at step {run.state.steps} of {run.budget.steps}.")
    run.source.close()


def _lead(run: Run) -> None:
    """Take the steps, and write all that is written."""
    state, steps, watch = run.state, run.budget.steps, run.watch
    assert watch is not None
    report_every = math.ceil(steps / REPORTS)
    save_every = math.ceil(steps / run.config.config.checkpoints)
    log_timing(run, "start")
    pulse = Pulse(run.folder)
    pulse.beat(state.steps, {})
    with (
        divergence_told(run.folder, state),
        memory_told(run.config, run.device),
        run.checkpoints,
    ):
        over = ended(run.config, state.streaks)
        while state.steps < steps and not over:
            figures = step_once(run)
            looking = watch.due(state.steps)
            if looking:
                figures = {**figures, **watch.look(state.average, state.streaks, state.steps)}
                over = state.world.any(ended(run.config, state.streaks))
            pulse.beat(state.steps, figures, last=over or state.steps == steps)
            if state.steps % report_every == 0 or looking:
                log_metrics(run, figures)
            if looking:
                watch.tell(figures, state.steps)
            fault_point("after_step")
            stopping = state.world.any(run.stop())
            run.checkpoints.check()
            if state.steps % save_every == 0 or state.steps == steps or stopping or over:
                run.checkpoints.save(state, run.seconds)
                log_timing(run, "checkpoint")
            if stopping and state.steps < steps and not over:
                run.checkpoints.wait()
                raise ResumableError(f"stopped at step {state.steps} of {steps}.", hint="The same command resumes.")
            if state.steps % save_every == 0:
                write_sheet(run.folder, state.average, state.steps)
    run.source.close()
    write_final(run.folder, state.average, run.config)
    ending = Ending(
        state.steps, "indistinguishable" if over else "budget", watch.warnings(state.average, state.streaks)
    )
    for warning in ending.warnings:
        log.warning(warning)
    blank = generator_record(run.config)
    commit_run(run.folder, run.config, ending, state.average, blank, device_name(run.device), run.seconds)


def open_run(workspace: Workspace, key: str, stop: Callable[[], bool], world: World = ALONE) -> Run:
    """Read the plan and the data, build the networks, and put the newest checkpoint into them."""
    folder = workspace.run(key)
    config = read_config(folder)
    device = choose_device(config.config.device)
    if config.config.deterministic:
        make_deterministic()
    else:
        pick_fastest_kernels(device)
    set_threads(config, world)
    if world.leads:
        tell_of_compiling(config.config.compile, device)
    # The version that the run was planned for, even if an ingest has made another one since.
    dataset = load_dataset(workspace, config.dataset, config.dataset_digest)
    ensure_local(workspace, dataset, "train")
    source = ClipSource(
        # Who started this process has compared the shards with their hashes.
        ClipSet(workspace.dataset(config.dataset), dataset, "train", check=False),
        device,
        batch=config.recipe.batch,
        seed=config.config.seed,
        classes=bool(config.labels),
        part=world.part(config.recipe.batch),
        sharing=world.size,
    )
    with memory_told(config, device):
        budget = _decide(folder, config, device, source, world)
        state = build_state(config, device, world)
        reading = time.monotonic()
        found = resume(folder, state, config)
        if found is None and config.init_sha256 is not None:
            take_over(workspace, config, state)
    if found:
        log.info("resuming at step %d, read in %.2f s", state.steps, time.monotonic() - reading)
    if world.any(world.first(state.steps) != state.steps):
        raise CorruptDataError("the processes of this run found different checkpoints.", hint=f"Compare {folder.path}.")
    if world.leads:
        warn_of_little_room(folder, state)
    source.waited_seconds = 0.0  # without the measuring
    seconds_before = found.seconds if found else 0.0
    writer = CheckpointWriter(folder, config)
    watch = open_watch(workspace, dataset, config, budget, source.clips, device) if world.leads else None
    return Run(
        folder, config, device, source, budget, state, writer, watch, stop, seconds_before, steps_before=state.steps
    )


def set_threads(config: RunConfig, world: World) -> None:
    """Compute with as many threads as asked for, else with this process's share of the cores."""
    if config.config.threads or world.size > 1:
        torch.set_num_threads(config.config.threads or max(1, torch.get_num_threads() // world.size))
    if world.leads and (all_threads := world.size * torch.get_num_threads()) > cores():
        log.warning("%d threads share %d cores, which makes each step slower: take fewer", all_threads, cores())


def _decide(folder: RunFolder, config: RunConfig, device: torch.device, source: ClipSource, world: World) -> RunBudget:
    """The run's budget; measured, where that is needed, on a copy of the run that nothing else sees."""
    probe: list[TrainState] = []

    def step() -> None:
        state = probe[0] if probe else build_state(config, device, world)
        probe[:] = [state]
        trial_step(config, state, *source.at(state.steps))

    return decide_budget(folder, config, device, step, world)


def trial_step(config: RunConfig, state: TrainState, video_BCTHW: Tensor, label_B: Tensor | None) -> None:
    """One step of a copy of the run that is thrown away: it costs what a step of the run costs."""
    bf16, adaptive = supports_bf16(video_BCTHW.device), config.config.augment == "adaptive"
    train_step(state, config.recipe, video_BCTHW, label_B, seed=0, budget=1 << 40, bf16=bf16, adaptive=adaptive)


def build_state(config: RunConfig, device: torch.device, world: World = ALONE) -> TrainState:
    """The networks before the first step; a function of the seed."""
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(step_seed(config.config.seed, 0, "weights"))  # pyright: ignore[reportUnknownMemberType]
        generator = build_generator(generator_record(config))
        discriminator = build_discriminator(
            config.family, config.network.discriminator.model_dump(mode="json"), config.shape
        )
    compiled = should_compile(config.config.compile, device)
    return TrainState.start(
        generator.to(device), discriminator.to(device), config.recipe, world=world, compiled=compiled
    )


def generator_record(config: RunConfig) -> GeneratorRecord:
    """The record of this run's generator, still without the hash of its weights."""
    return GeneratorRecord(
        family=config.family,
        family_version=family(config.family).version,
        network=config.network.generator.model_dump(mode="json"),
        labels=config.labels,
        frames=config.shape.frames,
        height=config.shape.height,
        width=config.shape.width,
        fps=config.fps,
        weights_sha256="",
        run=config.run,
        dataset=config.dataset,
        dataset_digest=config.dataset_digest,
        vgan_version=__version__,
    )


def step_once(run: Run) -> Mapping[str, float]:
    """One step on the clips that belong to it."""
    video_BCTHW, label_B = run.source.at(run.state.steps)
    return train_step(
        run.state,
        run.config.recipe,
        video_BCTHW,
        label_B,
        seed=run.config.config.seed,
        budget=run.budget.clips,
        bf16=run.budget.bf16,
        adaptive=run.config.config.augment == "adaptive",
    )


def log_metrics(run: Run, figures: Mapping[str, float]) -> None:
    """Append a line to metrics.jsonl; no wall clock in it, so a resumed run writes the same bytes."""
    line = {"step": run.state.steps, "clips": run.state.steps * run.config.recipe.batch, **figures}
    with storage_errors(run.folder.metrics, "writing"), open(run.folder.metrics, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")


def log_timing(run: Run, event: str) -> None:
    """Append to timing.jsonl where the run is, how long it took, and what this attempt's speed is.

    `waited_seconds` is the part of this attempt's time in which no step could run because clips were being read,
    `checkpoint_seconds` that in which none could because the state was being copied or an earlier checkpoint written.
    """
    here = time.monotonic() - run.started
    line = {
        "event": event,
        "step": run.state.steps,
        "seconds": round(run.seconds, 3),
        "clips_per_second": round((run.state.steps - run.steps_before) * run.config.recipe.batch / max(here, 1e-9), 2),
        "waited_seconds": round(run.source.waited_seconds, 3),
        "checkpoint_seconds": round(run.checkpoints.seconds, 4),
        "unix": round(time.time(), 1),
    }
    with storage_errors(run.folder.timing, "writing"), open(run.folder.timing, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")


def choose_device(asked: str) -> torch.device:
    """The device to train on; raises ConfigError when the one asked for is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return torch.device(next(name for name, available in there.items() if available))
    if not there[asked]:
        raise ConfigError(f"device {asked!r} is not available to PyTorch here.", hint="Use --device auto or cpu.")
    return torch.device(asked)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
