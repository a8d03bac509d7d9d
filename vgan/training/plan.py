"""What a run is, decided before anything is computed: its key, its networks, its recipe.

A run's key says what is learned, not how fast: it comes from the dataset version, the
training configuration without NOT_LEARNED, and TRAINING_CODE. The
same command therefore finds the same run, on this machine or another, and goes on with it.
Bit-equal weights need the same kind of device and as many threads; another GPU or another
number of threads sums in another order.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from ..config import Budget, TrainConfig
from ..errors import ConfigError
from ..models.network import ClipShape, Drawing, R3Network, r3_network
from ..records import Dataset, Record, digest_of
from ..storage import read_bytes, write_atomic
from ..workspace import RunFolder, Workspace
from .drawing import choose
from .recipe import Recipe, recipe_for

MOST_STEPS = 99_999_999  # names of checkpoints have eight digits
TRAINING_CODE = 8  # raised whenever the same configuration would give other weights than before

# Fields of TrainConfig that do not change what is learned: a run may be resumed with others.
NOT_LEARNED = frozenset(
    {"device", "threads", "checkpoints", "deterministic", "compile", "processes", "nodes", "rendezvous"}
)


class RunConfig(Record):
    """Everything a run was asked for, with the preset resolved: config.json."""

    run: str
    dataset: str
    dataset_digest: str
    labels: tuple[str, ...]
    shape: ClipShape
    fps: float
    config: TrainConfig
    family: Literal["r3"] = "r3"
    network: R3Network
    drawing: Drawing = "sprites"  # which a run that does not say so has: there was nothing else
    plain_share: float | None = None  # of the background, by which the drawing was chosen; None where it was given
    recipe: Recipe
    training_code: int = TRAINING_CODE
    init_sha256: str | None = None  # of the weights that it starts from, wherever `config.init` now leads


class RunBudget(Record):
    """How many clips the run trains on and in which arithmetic, decided once: plan.json."""

    run: str
    steps: int = Field(ge=1)
    clips: int = Field(ge=1)  # steps x batch
    bf16: bool  # the networks' bodies run in bfloat16
    clips_per_second: float | None  # as measured; None for a budget that was given in clips


def run_key(dataset: Dataset, config: TrainConfig, init: str | None = None) -> str:
    """The key of the run that this configuration makes of this dataset version.

    `init` is what `initial.adopt` returned: a model's alias moves, and from other weights it is another run.
    """
    asked = config.model_dump(mode="json", exclude=set(NOT_LEARNED)) | {"init": init}
    digest = digest_of({"dataset": dataset.digest(), "config": asked, "training_code": TRAINING_CODE})
    return f"{dataset.name}-{digest[:16]}"


def resolve(workspace: Workspace, dataset: Dataset, config: TrainConfig, init: str | None = None) -> RunConfig:
    """Turn a preset into networks and a recipe for this dataset, some of whose clips are looked at.

    `init` as for `run_key`.

    Raises:
        ConfigError: the clips have a shape that the networks cannot take.
        CorruptDataError, StorageError: as for `drawing.choose`.
    """
    ingest = dataset.config
    shape = ClipShape(frames=ingest.frames, height=ingest.height, width=ingest.width, labels=len(dataset.labels))
    drawing, plain_share = choose(workspace, dataset, config)
    return RunConfig(
        run=run_key(dataset, config, init),
        dataset=dataset.name,
        dataset_digest=dataset.digest(),
        labels=dataset.labels,
        shape=shape,
        fps=ingest.fps,
        config=config,
        network=r3_network(config.preset, shape, drawing),
        drawing=drawing,
        plain_share=plain_share,
        recipe=recipe_for(config.preset, config.batch, shape.frames * shape.height * shape.width),
        init_sha256=init,
    )


def prepare(workspace: Workspace, dataset: Dataset, config: TrainConfig, init: str | None = None) -> str:
    """Write the run's config.json and return its key."""
    run = resolve(workspace, dataset, config, init)
    write_atomic(workspace.run(run.run).config, run.to_json())
    return run.run


def read_config(folder: RunFolder) -> RunConfig:
    """The run's config.json; raises CorruptDataError or StorageError."""
    return RunConfig.from_json(read_bytes(folder.config), str(folder.config))


def read_budget(folder: RunFolder) -> RunBudget | None:
    """The run's plan.json, None before it is decided; raises CorruptDataError."""
    if not folder.plan.exists():
        return None
    return RunBudget.from_json(read_bytes(folder.plan), str(folder.plan))


def budget_steps(config: RunConfig, seconds_per_step: float, seconds_left: float) -> int:
    """Steps that fit: as many as the clips asked for need, or as the seconds left allow; at least 1.

    Raises:
        ConfigError: they are more than a checkpoint's name can count.
    """
    budget = Budget.parse(config.config.budget)
    if budget.kclips is not None:
        steps = math.ceil(budget.kclips * 1000 / config.recipe.batch)
    else:
        steps = int(seconds_left / seconds_per_step)
    if steps > MOST_STEPS:
        raise ConfigError(
            f"budget {config.config.budget} is {steps:,} steps here, and a run has {MOST_STEPS:,} at most.",
            hint="Take a smaller --budget or a larger --batch.",
        )
    return max(1, steps)
