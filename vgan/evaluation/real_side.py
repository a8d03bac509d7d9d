"""All that an evaluation needs of real clips: the same for every generator, so computed once and kept.

Shapes: N held-out clips, M training clips, K coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.buckets.published import ensure_local
from ..data.loading.loader import ClipSet
from ..data.shapes import DIRECTIONS
from ..records import Dataset, digest_of
from ..workspace import Workspace
from . import features, probes
from .calibration import Draws, Reference, count_draws, draw_halves, refer
from .evidence import HeldoutSide, TrainingSide, groups_of, heldout_side, spoilt_views, training_part, training_side
from .features import Embedding
from .probes import Traits
from .space import Space
from .spoil import CONTROLS
from .views import Views

VERSION = 2  # raise whenever equal clips would give other figures
COPIED, MISLABELLED = "copied", "mislabelled"

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]
Double = NDArray[np.float64]
Tick = Callable[[int, str], None]


@dataclass(frozen=True)
class RealSide:
    """What is known of a dataset version's clips."""

    views: Views  # of the held-out clips, placed
    labels_N: Labels
    groups_N: Labels  # which clips come from videos of one group
    traits: Traits | None  # when the data are `shapes`
    shown_NTHWC: UInt8
    train_MK: Double  # training clips as `Space.bare` places them
    train_indices_M: Labels  # their places in the set of `training_part`
    space: Space
    reference: Reference

    def draws(self, config: EvaluateConfig) -> Draws:
        """The comparisons to make."""
        return draw_halves(self.groups_N, config.clips, config.bootstrap, config.seed)


def protocol() -> str:
    """Name of the code behind the figures: those of another protocol cannot be compared."""
    return f"heldout-halves-{VERSION}/random-conv3d-{features.fingerprint()}"


def real_key(dataset: Dataset, config: EvaluateConfig) -> str:
    """Of all that decides what a RealSide is."""
    settings = config.model_dump(mode="json", exclude={"fvd_weights", "fvd_sha256"})  # field.py keeps its own
    return digest_of({"dataset": dataset.digest(), "protocol": protocol(), "config": settings})


def real_work(dataset: Dataset, config: EvaluateConfig) -> int:
    """About how many clips and draws `make_real_side` ticks off."""
    heldout = min(dataset.clips("heldout"), config.clips)
    controls = len(CONTROLS) + 1 + (len(dataset.labels) > 1)
    comparing = count_draws(config.bootstrap, controls)[0]
    return heldout * (1 + len(CONTROLS)) + training_part(dataset, config.seed).clips("train") + comparing


def make_real_side(workspace: Workspace, dataset: Dataset, config: EvaluateConfig, tick: Tick) -> RealSide:
    """Read the clips and compute all of it.

    Raises:
        BadInputError: too few held-out clips, or no training clip.
        CorruptDataError: shards do not match their records.
    """
    folder = workspace.dataset(dataset.name)
    ensure_local(workspace, dataset, "heldout")
    clips = ClipSet(folder, dataset, "heldout")
    try:
        groups_N = groups_of(folder, dataset, clips.keys)
        heldout = heldout_side(clips, groups_N, config, dataset.labels == DIRECTIONS, tick)
        training = read_training(workspace, dataset, heldout.labels_N, config, tick)
        spoilt = spoilt_views(clips, heldout.indices_N, config, tick)
    finally:
        clips.close()
    return _refer(dataset, config, heldout, training, spoilt, tick)


def read_training(
    workspace: Workspace, dataset: Dataset, labels_N: Labels, config: EvaluateConfig, tick: Tick
) -> TrainingSide:
    """Look at training clips; see `training_side`."""
    clips = open_training(workspace, dataset, config)
    try:
        return training_side(clips, labels_N, config, tick)
    finally:
        clips.close()


def open_training(workspace: Workspace, dataset: Dataset, config: EvaluateConfig, *, check: bool = True) -> ClipSet:
    """The set of training clips among which copies are looked for."""
    part = training_part(dataset, config.seed)
    ensure_local(workspace, dataset, "train", shards=part.shards)
    return ClipSet(workspace.dataset(dataset.name), part, "train", check=check)


def _refer(
    dataset: Dataset,
    config: EvaluateConfig,
    heldout: HeldoutSide,
    training: TrainingSide,
    spoilt: dict[str, Views],
    tick: Tick,
) -> RealSide:
    """Fit the space, place everything in it, and compare real clips with real ones."""
    labels_N, raw = heldout.labels_N, heldout.views
    space = Space.fit(Embedding(raw["clip"], raw["motion"]), len(dataset.labels))
    train_MK = space.bare(Embedding(training.embedded_M["clip"], training.embedded_M["motion"]))
    views = space.place(raw, labels_N, train_MK)
    controls = {name: space.place(some, labels_N, train_MK) for name, some in spoilt.items()}
    if len(dataset.labels) > 1:
        controls[MISLABELLED] = space.place(raw, (labels_N + 1) % len(dataset.labels), train_MK)
    controls[COPIED] = space.place(training.copied_N, labels_N, train_MK)
    draws = draw_halves(heldout.groups_N, config.clips, config.bootstrap, config.seed)
    reference = refer(views, controls, draws, tick=lambda what: tick(1, f"real clips: {what}"))
    traits = heldout.traits
    if traits is not None and not probes.is_shapes(dataset.labels, labels_N, traits):
        traits = None
    return RealSide(
        views, labels_N, heldout.groups_N, traits, heldout.shown_NTHWC, train_MK, training.indices_M, space, reference
    )
