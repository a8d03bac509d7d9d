"""The clips that are compared, real and generated, turned into features piece by piece.

Shapes: N clips, T frames, H height, W width, C colours, L labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.loading.loader import ClipSet
from ..errors import BadInputError
from ..sampling import Sampler
from . import probes
from .calibration import FEWEST_HELDOUT
from .features import Embedding, embed
from .probes import Traits
from .spoil import CONTROLS

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]
Tick = Callable[[int, str], None]  # clips done since the last call, and what is being done

CHUNK = 32  # clips in memory at once
SHOWN = 16  # clips of each side that go into the report


@dataclass(frozen=True)
class Side:
    """All that is kept of one side's clips, which are sorted by label."""

    embedding: Embedding
    labels_N: Labels
    traits: Traits | None  # measured when the classes are those of `shapes`
    shown_NTHWC: UInt8  # SHOWN of them, evenly spaced, so that every label is there


@dataclass(frozen=True)
class RealSide(Side):
    """Held-out clips and their places in the set."""

    indices_N: Labels


@dataclass(frozen=True)
class FakeSide(Side):
    """Generated clips."""

    finite: bool  # every value that the network gave was finite


def read_clips(clips: ClipSet, indices: Labels) -> UInt8:
    """Clips as uint8 [N, T, H, W, 3]."""
    return np.ascontiguousarray(clips.read(indices).transpose(0, 2, 3, 4, 1))


def real_side(clips: ClipSet, config: EvaluateConfig, with_traits: bool, tick: Tick) -> RealSide:
    """Embed the held-out clips, or a random `config.clips` of them.

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
    pieces = (read_clips(clips, chosen[start : start + CHUNK]) for start in range(0, len(chosen), CHUNK))
    labels_N = clips.labels[chosen]
    return RealSide(*_digest(pieces, labels_N, with_traits, tick, "held-out clips"), chosen)


def fake_side(
    sampler: Sampler, real_labels_N: Labels, config: EvaluateConfig, with_traits: bool, tick: Tick
) -> FakeSide:
    """Generate `config.clips` clips with labels in the proportions of the real ones, and embed them.

    Clip i has the seed `config.seed` + i. Labels are ignored by a generator without classes.
    """
    labels_N = matching_labels(real_labels_N, config.clips)
    finite: list[bool] = []

    def watch(_module: object, _inputs: object, output: torch.Tensor) -> None:
        finite.append(bool(torch.isfinite(output).all()))

    hook = sampler.network.register_forward_hook(watch)
    try:
        stream = _generate(sampler, labels_N, config.seed)
        pieces = (np.stack(piece) for piece in iter(lambda: list(itertools.islice(stream, CHUNK)), []))
        side = _digest(pieces, labels_N, with_traits, tick, "generated clips")
    finally:
        hook.remove()
    return FakeSide(*side, all(finite))


def _generate(sampler: Sampler, labels_N: Labels, seed: int) -> Iterator[UInt8]:
    for label in np.unique(labels_N).tolist():
        places = np.flatnonzero(labels_N == label)
        asked = label if sampler.record.labels else None
        yield from sampler.stream(len(places), seed + int(places[0]), asked)


def matching_labels(real_labels_N: Labels, count: int) -> Labels:
    """`count` sorted labels in the proportions of the real ones, rounded by largest remainder."""
    present, real_counts = np.unique(real_labels_N, return_counts=True)
    exact = real_counts * count / real_counts.sum()
    counts = np.floor(exact).astype(np.int64)
    for place in np.argsort(counts - exact, kind="stable")[: count - int(counts.sum())]:
        counts[place] += 1
    return np.repeat(present, counts)


def _digest(
    pieces: Iterator[UInt8], labels_N: Labels, with_traits: bool, tick: Tick, what: str
) -> tuple[Embedding, Labels, Traits | None, UInt8]:
    """Embed and measure clips as they come; keep only those that will be shown."""
    embeddings: list[Embedding] = []
    traits: list[Traits] = []
    shown: list[UInt8] = []
    wanted = {round(float(i)) for i in np.linspace(0, len(labels_N) - 1, min(SHOWN, len(labels_N)))}
    start = 0
    for piece in pieces:
        embeddings.append(embed(piece))
        if with_traits:
            traits.append(probes.measure(piece))
        shown += [clip for i, clip in enumerate(piece, start) if i in wanted]
        start += len(piece)
        tick(len(piece), what)
    return Embedding.join(embeddings), labels_N, Traits.join(traits) if with_traits else None, np.stack(shown)


def spoilt_embeddings(clips: ClipSet, real: RealSide, config: EvaluateConfig, tick: Tick) -> dict[str, Embedding]:
    """The held-out clips, in the order of `real`, spoilt in each way, by name."""
    parts: dict[str, list[Embedding]] = {name: [] for name in CONTROLS}
    for start in range(0, len(real.indices_N), CHUNK):
        piece = read_clips(clips, real.indices_N[start : start + CHUNK])
        for number, (name, spoil) in enumerate(CONTROLS.items()):
            parts[name].append(embed(spoil(piece, np.random.default_rng([config.seed, 2, start, number]))))
            tick(len(piece), "controls")
    return {name: Embedding.join(part) for name, part in parts.items()}
