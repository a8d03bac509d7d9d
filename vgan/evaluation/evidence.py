"""The clips that are compared, held-out, training and generated ones, turned into views piece by piece.

Shapes: N clips, M training clips, T frames, H height, W width, C colours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.loading.loader import ClipSet
from ..data.manifest import plain_batches
from ..errors import BadInputError
from ..records import Dataset
from ..sampling import Sampler
from ..workspace import DatasetFolder
from . import probes
from .calibration import FEWEST_HELDOUT
from .probes import Traits
from .spoil import CONTROLS
from .views import Views, embedding_views, look, pixel_views

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]
Tick = Callable[[int, str], None]  # clips done since the last call, and what is being done

CHUNK = 32  # clips in memory at once
SHOWN = 16  # clips of each side that go into the report
MOST_TRAINING = 4096  # training clips among which copies are looked for


@dataclass(frozen=True)
class Side:
    """All that is kept of one side's clips, which are sorted by label."""

    views: Views
    labels_N: Labels
    traits: Traits | None  # measured when the classes are those of `shapes`
    shown_NTHWC: UInt8  # SHOWN of them, evenly spaced, so that every label is there


@dataclass(frozen=True)
class HeldoutSide(Side):
    """Held-out clips, their places in the set, and which were cut from videos of one group."""

    indices_N: Labels
    groups_N: Labels


@dataclass(frozen=True)
class TrainingSide:
    """Training clips: all embedded, and one of them for each held-out clip in its stead, of its label if there is."""

    embedded_M: Views  # "clip" and "motion" alone
    indices_M: Labels  # places in the set of `training_part`
    copied_N: Views  # all views


@dataclass(frozen=True)
class FakeSide(Side):
    """Generated clips."""

    finite: bool  # every value that the network gave was finite


def read_clips(clips: ClipSet, indices: Labels) -> UInt8:
    """Clips as uint8 [N, T, H, W, 3]."""
    return np.ascontiguousarray(clips.read(indices).transpose(0, 2, 3, 4, 1))


def heldout_side(
    clips: ClipSet, groups_N: Labels, config: EvaluateConfig, with_traits: bool, tick: Tick
) -> HeldoutSide:
    """Look at the held-out clips, or a random `config.clips` of them; `groups_N` is from `groups_of`.

    Raises:
        BadInputError: there are too few to split in halves.
    """
    if len(clips) < FEWEST_HELDOUT:
        raise BadInputError(
            f"only {len(clips)} clips are held out, and evaluation needs {FEWEST_HELDOUT} or more.",
            hint="Ingest more videos, or ingest again with a larger --heldout or a smaller --stride.",
        )
    chosen = np.random.default_rng([config.seed, 0]).permutation(len(clips))[: config.clips]
    chosen = np.sort(chosen)
    chosen = chosen[np.argsort(clips.labels[chosen], kind="stable")]
    labels_N = clips.labels[chosen]
    pieces = (read_clips(clips, part) for part in _chunks(chosen))
    side = _digest(pieces, labels_N, config.seed, with_traits, tick, "held-out clips")
    return HeldoutSide(*side, chosen, groups_N[chosen])


def groups_of(folder: DatasetFolder, dataset: Dataset, keys: Sequence[str]) -> Labels:
    """A number for the group of videos that each clip comes from, by the clips' keys."""
    wanted = {key[:16] for key in keys}
    videos = (video for batch in plain_batches(folder, dataset) for video in batch["videos"])
    known = {str(v["digest_sha256"])[:16]: str(v["group"]) for v in videos if str(v["digest_sha256"])[:16] in wanted}
    _, groups_N = np.unique([known.get(key[:16], key[:16]) for key in keys], return_inverse=True)
    return groups_N.astype(np.int64)


def training_part(dataset: Dataset, seed: int) -> Dataset:
    """The version with only so many training shards, at random, as hold MOST_TRAINING clips; for reading alone."""
    order = np.random.default_rng([seed, 3]).permutation(len(dataset.batches))
    kept: set[int] = set()
    clips = 0
    for place in map(int, order):
        if clips >= MOST_TRAINING:
            break
        kept.add(place)
        clips += sum(shard.samples for shard in dataset.batches[place].shards if shard.split == "train")
    return dataset.model_copy(update={"batches": tuple(b for i, b in enumerate(dataset.batches) if i in kept)})


def training_side(clips: ClipSet, wanted_N: Labels, config: EvaluateConfig, tick: Tick) -> TrainingSide:
    """Embed at most MOST_TRAINING training clips, and choose one for each of the held-out clips' labels.

    Raises:
        BadInputError: there is no training clip.
    """
    if not len(clips):
        raise BadInputError(
            "the dataset holds no training clip to look for copies of.", hint="Ingest again with a smaller --heldout."
        )
    rng = np.random.default_rng([config.seed, 5])
    chosen = np.sort(rng.permutation(len(clips))[:MOST_TRAINING])
    copied_N = stand_ins(clips.labels[chosen], wanted_N, rng)
    once = np.unique(copied_N)
    embedded: list[Views] = []
    for part in _chunks(chosen):
        embedded.append(Views(embedding_views(read_clips(clips, part))))
        tick(len(part), "training clips")
    all_M = Views.join(embedded)
    pixels = Views.join([Views(pixel_views(read_clips(clips, part), config.seed)) for part in _chunks(chosen[once])])
    tick(0, "training clips")
    copies = all_M.take(copied_N).beside(**pixels.take(np.searchsorted(once, copied_N)).arrays)
    return TrainingSide(all_M, chosen, copies)


def stand_ins(labels_M: Labels, wanted_N: Labels, rng: np.random.Generator) -> Labels:
    """For each wanted label the place of a clip that has it, again and again the same only when there are too few."""
    places_N = np.empty(len(wanted_N), np.int64)
    for label in np.unique(wanted_N):
        having = np.flatnonzero(labels_M == label)
        pool = rng.permutation(having if len(having) else len(labels_M))
        count = int((wanted_N == label).sum())
        places_N[wanted_N == label] = np.resize(pool, count)
    return places_N


def spoilt_views(clips: ClipSet, indices_N: Labels, config: EvaluateConfig, tick: Tick) -> dict[str, Views]:
    """The held-out clips at these places, spoilt in each way, by name."""
    parts: dict[str, list[Views]] = {name: [] for name in CONTROLS}
    for start in range(0, len(indices_N), CHUNK):
        piece = read_clips(clips, indices_N[start : start + CHUNK])
        for number, (name, spoil) in enumerate(CONTROLS.items()):
            spoilt = spoil(piece, np.random.default_rng([config.seed, 2, start, number]))
            parts[name].append(look(spoilt, config.seed))
            tick(len(piece), "controls")
    return {name: Views.join(part) for name, part in parts.items()}


def fake_side(
    sampler: Sampler, real_labels_N: Labels, config: EvaluateConfig, with_traits: bool, tick: Tick
) -> FakeSide:
    """Generate `config.clips` clips with labels in the proportions of the real ones, and look at them.

    Clip i has the seed `config.seed` + i. Labels are ignored by a generator without classes.
    """
    labels_N = matching_labels(real_labels_N, config.clips)
    finite: list[bool] = []

    def watch(_module: object, _inputs: object, output: torch.Tensor) -> None:
        finite.append(bool(torch.isfinite(output).all()))

    def pieces() -> Iterator[UInt8]:
        stream = _generate(sampler, labels_N, config.seed)
        while piece := list(itertools.islice(stream, CHUNK)):
            tick(0, "generating")
            yield np.stack(piece)

    hook = sampler.network.register_forward_hook(watch)
    try:
        side = _digest(pieces(), labels_N, config.seed, with_traits, tick, "generated clips")
    finally:
        hook.remove()
    return FakeSide(*side, all(finite))


def _generate(sampler: Sampler, labels_N: Labels, seed: int) -> Iterator[UInt8]:
    for label in np.unique(labels_N).tolist():
        places = np.flatnonzero(labels_N == label)
        asked = label if sampler.record.labels else None
        yield from sampler.stream(len(places), seed + int(places[0]), asked)


def one_again(sampler: Sampler, labels_N: Labels, seed: int, place: int) -> UInt8:
    """The clip at one place of a FakeSide with these labels once more, uint8 [T, H, W, 3]."""
    label = int(labels_N[place]) if sampler.record.labels else None
    return sampler.sample(1, seed + place, label)[0]


def matching_labels(real_labels_N: Labels, count: int) -> Labels:
    """`count` sorted labels in the proportions of the real ones, rounded by largest remainder."""
    present, real_counts = np.unique(real_labels_N, return_counts=True)
    exact = real_counts * count / real_counts.sum()
    counts = np.floor(exact).astype(np.int64)
    for place in np.argsort(counts - exact, kind="stable")[: count - int(counts.sum())]:
        counts[place] += 1
    return np.repeat(present, counts)


def _chunks(indices: Labels) -> Iterator[Labels]:
    return (indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK))


def _digest(
    pieces: Iterator[UInt8], labels_N: Labels, seed: int, with_traits: bool, tick: Tick, what: str
) -> tuple[Views, Labels, Traits | None, UInt8]:
    """Look at clips and measure them as they come; keep only those that will be shown."""
    views: list[Views] = []
    traits: list[Traits] = []
    shown: list[UInt8] = []
    wanted = {round(float(i)) for i in np.linspace(0, len(labels_N) - 1, min(SHOWN, len(labels_N)))}
    start = 0
    for piece in pieces:
        views.append(look(piece, seed))
        if with_traits:
            traits.append(probes.measure(piece))
        shown += [clip for i, clip in enumerate(piece, start) if i in wanted]
        start += len(piece)
        tick(len(piece), what)
    return Views.join(views), labels_N, Traits.join(traits) if with_traits else None, np.stack(shown)
