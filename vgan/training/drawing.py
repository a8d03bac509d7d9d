"""How a generator is to draw the clips of a dataset: as sprites over a picture, or every frame whole.

A sprite is drawn once a clip and moved: over a background of one colour it learns a shape in a minute, because all its
frames teach one picture. Where the background is a place with a texture of its own, and what moves in it bends, the
same sprite learns to be a wall, or a stain on it. Which of the two a dataset is shows in its clips before anything is
trained: see `plain_share`.

Shapes: N clips, C = 3 colours (RGB, uint8), T frames, H height, W width.
"""

from __future__ import annotations

import numpy as np

from ..config import TrainConfig
from ..data.buckets.published import ensure_local
from ..data.loading.loader import ClipSet
from ..data.shards.formats import Uint8
from ..models.network import Drawing
from ..records import Dataset
from ..workspace import Workspace

CLIPS = 64  # looked at, spread over the training clips
SHARDS = 16  # of which they come at most, so that looking does not take longer the larger the dataset
NEAR = 16  # grey levels from a background's middle colour that still count as that colour
PLAIN = 0.9  # share of a background from which it is of one colour; measured: shapes 1.0, people before walls .38


def choose(workspace: Workspace, dataset: Dataset, config: TrainConfig) -> tuple[Drawing, float | None]:
    """How the run draws, and the share of the backgrounds that it was chosen by; None where it was given.

    A function of the dataset version and the configuration: it is the same for a run that resumes.

    Raises:
        CorruptDataError: a shard is missing or damaged.
        StorageError: a shard cannot be read or fetched.
    """
    if config.drawing != "auto":
        return config.drawing, None
    clips_NCTHW = sample_clips(workspace, dataset)
    share = plain_share(clips_NCTHW)
    return "sprites" if share >= PLAIN else "frames", share


def sample_clips(workspace: Workspace, dataset: Dataset) -> Uint8:
    """Some training clips [N, 3, T, H, W], evenly spread; none when there are none."""
    shards = [shard for shard in dataset.shards if shard.split == "train"]
    few = [shards[index] for index in evenly(len(shards), SHARDS)]
    ensure_local(workspace, dataset, "train", shards=few)
    part = dataset.model_copy(update={"shards": tuple(few)})
    # Who trains compares the shards with their hashes before this.
    clips = ClipSet(workspace.dataset(dataset.name), part, "train", check=False)
    try:
        return clips.read(evenly(len(clips), CLIPS))
    finally:
        clips.close()


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers from 0 to count - 1, first and last among them, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most))})


def plain_share(clips_NCTHW: Uint8) -> float:
    """Share of a clip's background that is of one colour: the median over the clips, 0 to 1; 1 for no clips.

    The background is what each pixel shows in the middle of the clip's values (the median over time): what passes does
    not count. Its colour is the median over its pixels; a pixel is of that colour within NEAR in each of the three.
    """
    if not len(clips_NCTHW):
        return 1.0
    shares: list[float] = []
    for clip_CTHW in clips_NCTHW:  # one at a time: float64 medians of all would take 16 times the clips' memory
        background_CHW = np.median(clip_CTHW, axis=1)
        away_HW = np.abs(background_CHW - np.median(background_CHW, axis=(1, 2), keepdims=True)).max(0)
        shares.append(float((away_HW <= NEAR).mean()))
    return round(float(np.median(shares)), 4)
