"""What a training will be and cost, before anything of it is written: `vgan train --dry-run`.

The plan of the run comes from its configuration; what depends on the machine is measured by a
child process (`probe`), which builds the networks and takes a few steps on random clips.
Needs no torch.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import TrainConfig
from ..data.manifest import load_dataset, plain_batches
from ..errors import BadInputError
from ..models.network import ClipShape, Drawing
from ..records import Dataset, Record
from ..workspace import RunFolder, Workspace
from .initial import adopt
from .manifest import KEPT, newest_sound, read_checked
from .plan import RunConfig, read_budget, resolve
from .process import finished_run, probe
from .recipe import Recipe

FindInitial = Callable[[Workspace, Dataset, TrainConfig], str | None]
_Standing = tuple[Literal["new", "resumes", "finished"], int, str | None]
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)  # of the budget, at which the schedules are shown


class PartCost(Record):
    """A module of a network."""

    name: str
    parameters: int
    macs: int  # multiply-accumulates of one clip, forward


class NetworkCost(Record):
    """One network."""

    parameters: int
    macs: int
    parts: tuple[PartCost, ...]


class Moment(Record):
    """The schedules at one moment of the budget."""

    share: float
    clips: int
    lr_generator: float
    lr_discriminator: float
    gamma: float
    ema_half_life: float  # in clips


class Memory(Record):
    """Bytes that one training process takes on its device, without the clips."""

    weights: int  # of both networks
    gradients: int
    optimizer: int
    average: int
    step: int  # beyond these, at its highest in a step: activations, and what libraries hold for them; measured
    peak: int  # all together, on a CPU with the program itself; measured
    spare: int  # that clips may take
    device: int  # of the whole device


class Probe(Record):
    """What the child process measured."""

    device: str
    bf16: bool
    threads: int
    compiled: bool
    processes: int
    steps: int  # of the whole budget
    seconds_per_step: float
    checkpoint_bytes: int
    memory: Memory
    generator: NetworkCost
    discriminator: NetworkCost


class Estimate(Record):
    """The resolved plan: what `vgan train --dry-run --json` prints."""

    run: str
    state: Literal["new", "resumes", "finished"]
    steps_done: int  # the step of the checkpoint that training would resume at, or at which it finished
    checkpoint: str | None  # the file that training would resume from
    dataset: str
    dataset_number: int
    dataset_digest: str
    labels: tuple[str, ...]
    clips_train: int
    clips_heldout: int
    shape: ClipShape
    fps: float
    config: TrainConfig
    family: str
    drawing: Drawing
    plain_share: float | None  # of the background, by which the drawing was chosen; None where it was given
    recipe: Recipe
    steps: int
    clips: int  # of the whole budget
    init_sha256: str | None  # of the weights that it starts from
    schedule: tuple[Moment, ...]
    clips_bytes: int  # of all training clips as uint8
    clips_resident: bool  # they are held in memory; else read for each step
    checkpoint_every: int  # steps
    checkpoints_kept: int
    clips_per_second: float
    seconds: float  # that training from `steps_done` to the end takes at this speed
    measured: Probe


def estimate(workspace: Workspace, name: str, config: TrainConfig, find: FindInitial = adopt) -> Estimate:
    """Resolve and measure what `train` with the same arguments would do; writes nothing into the workspace.

    Args:
        workspace: holds the dataset, and the run if there is one.
        name: of the dataset.
        config: what would be trained.
        find: finds the weights to start from.

    Raises:
        BadInputError: the dataset has no training clips.
        CorruptDataError: the run has checkpoints and none is valid.
        ConfigError: unknown dataset, a checkpoint of another run, a shape that the networks cannot take, a device that
            is not there, too little memory, too few held-out videos for a test that is to end the run.
    """
    dataset = load_dataset(workspace, name)
    if not dataset.clips("train"):
        raise BadInputError("the dataset has no training clips.", hint="Ingest more videos, or a smaller stride.")
    if config.stop_when_indistinguishable:
        _check_heldout(workspace, dataset)
    with tempfile.TemporaryDirectory(prefix="vgan-") as scratch:
        init = find(_Rehearsal(workspace.root, scratch=Path(scratch)), dataset, config)
    run = resolve(workspace, dataset, config, init)
    standing = _standing(workspace.run(run.run), run)
    measured = Probe.from_json(probe(run), "what the training process measured")
    return _put_together(dataset, run, workspace.run(run.run), standing, measured)


def _check_heldout(workspace: Workspace, dataset: Dataset) -> None:
    """Refuse a dataset that training would refuse, before anything is measured."""
    from .watch import check_heldout  # loads torch, which nothing else here needs

    batches = plain_batches(workspace.dataset(dataset.name), dataset)
    groups = {video["group"] for batch in batches for video in batch["videos"] if video["split"] == "heldout"}
    check_heldout(dataset.name, len(groups))


@dataclass(frozen=True)
class _Rehearsal(Workspace):
    """A workspace in which initial weights are kept elsewhere."""

    scratch: Path = Path()

    def initial(self, sha256: str) -> Path:
        """See Workspace."""
        return self.scratch / super().initial(sha256).name


def _put_together(
    dataset: Dataset, run: RunConfig, folder: RunFolder, standing: _Standing, measured: Probe
) -> Estimate:
    known = read_budget(folder)
    steps = known.steps if known else measured.steps
    state, done, checkpoint = standing
    shape, batch = run.shape, run.recipe.batch
    clips_bytes = dataset.clips("train") * 3 * shape.frames * shape.height * shape.width
    return Estimate(
        run=run.run,
        state=state,
        steps_done=done,
        checkpoint=checkpoint,
        dataset=dataset.name,
        dataset_number=dataset.number,
        dataset_digest=run.dataset_digest,
        labels=run.labels,
        clips_train=dataset.clips("train"),
        clips_heldout=dataset.clips("heldout"),
        shape=shape,
        fps=run.fps,
        config=run.config,
        family=run.family,
        drawing=run.drawing,
        plain_share=run.plain_share,
        recipe=run.recipe,
        steps=steps,
        clips=steps * batch,
        init_sha256=run.init_sha256,
        schedule=schedule(run.recipe, steps),
        clips_bytes=clips_bytes,
        clips_resident=clips_bytes <= measured.memory.spare,
        checkpoint_every=math.ceil(steps / run.config.checkpoints),
        checkpoints_kept=KEPT,
        clips_per_second=round(batch / measured.seconds_per_step, 2),
        seconds=0.0 if state == "finished" else round((steps - done) * measured.seconds_per_step, 1),
        measured=measured,
    )


def _standing(folder: RunFolder, run: RunConfig) -> _Standing:
    """How far the run is, its step, and the checkpoint that it resumes from: the one that training would take."""
    if (finished := finished_run(folder)) is not None:
        return "finished", finished.steps, None
    saved = newest_sound(folder, lambda manifest: read_checked(folder, manifest, run)[0])
    if saved is None:
        return "new", 0, None
    return "resumes", saved.steps, str(folder.checkpoints / f"{saved.steps:08d}.safetensors")


def schedule(recipe: Recipe, steps: int) -> tuple[Moment, ...]:
    """The schedules at SHARES of a budget of `steps` steps, each as the step that starts there takes them."""
    budget = steps * recipe.batch
    moments: list[Moment] = []
    for share in SHARES:
        clips = min(round(share * steps), steps - 1) * recipe.batch
        generator, discriminator = recipe.learning_rates(clips, budget)
        decay = recipe.ema_decay(clips + recipe.batch)
        moments.append(
            Moment(
                share=share,
                clips=clips,
                lr_generator=generator,
                lr_discriminator=discriminator,
                gamma=recipe.gamma(clips),
                ema_half_life=recipe.batch * math.log(0.5) / math.log(decay),
            )
        )
    return tuple(moments)
