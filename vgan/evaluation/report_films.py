"""What moves in the report: real beside generated clips, the same seeds while training, and nearest neighbours.

Shapes: N clips, T frames, H height, W width, C = 3 colours (uint8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ..media.encode import contact_sheet, mp4_bytes, png_bytes
from ..media.marking import Marking
from ..page import escaped, film, folded, picture
from ..records import TrainedRun
from .glossary import figure
from .previews import Preview

UInt8 = NDArray[np.uint8]
COLUMNS = 4
TILE = 96  # pixels of the longer side of a clip; smaller ones are enlarged by a whole factor, larger ones made smaller
BORDER = 2
GREY = 40
SHEET_CLIPS = 8
LOOPED_SECONDS = 1.0  # a shorter film is repeated: players stumble over very short loops
COPIED_BELOW = 0.5  # of the usual distance


@dataclass(frozen=True)
class Films:
    """Encodes films at one speed, those with generated clips marked as synthetic."""

    run: TrainedRun
    fps: float
    seed: int = 0

    def generated(self, frames_THWC: UInt8, speed: float = 1.0) -> bytes:
        """An mp4 that says in its metadata that it is synthetic."""
        # No watermark: on black it shows as a faint grain, which a reader would blame on the generator.
        marking = Marking(self.run.dataset, "", self.run.run, watermark=False)
        content = mp4_bytes(self._looped(frames_THWC), self.fps * speed, marking.tags(self.seed))
        return marking.signed(content, ".mp4", self.seed)

    def real(self, frames_THWC: UInt8) -> bytes:
        """A plain mp4."""
        return mp4_bytes(self._looped(frames_THWC), self.fps)

    def _looped(self, frames_THWC: UInt8) -> UInt8:
        times = max(1, ceil(LOOPED_SECONDS * self.fps / len(frames_THWC)))
        return np.concatenate([frames_THWC] * times)


def pair_html(films: Films, real_NTHWC: UInt8, fake_NTHWC: UInt8) -> str:
    """Real clips beside generated ones, playing, and folded below them frame by frame."""
    num, labels = len(fake_NTHWC), films.run.generator.labels
    sorted_by = f" Sorted by class, from the top: {', '.join(labels)}." if labels else ""
    real = film(
        films.real(mosaic(real_NTHWC)), "Real, held out", label=f"{len(real_NTHWC)} real clips, playing", controls=True
    )
    fake = film(
        films.generated(mosaic(fake_NTHWC)),
        "Generated (synthetic)",
        label=f"{num} generated clips of the same classes, playing",
        controls=True,
    )
    note = f'<p class="soft">The model has seen none of these real clips.{escaped(sorted_by)}</p>'
    return f'<div class="pair">{real}{fake}</div>{note}{folded("Frame by frame", _sheets(real_NTHWC, fake_NTHWC))}'


def _sheets(real_NTHWC: UInt8, fake_NTHWC: UInt8) -> str:
    pictures: list[str] = []
    for clips, caption in ((real_NTHWC, "Real, held out"), (fake_NTHWC, "Generated (synthetic)")):
        some = clips[np.unique(np.linspace(0, len(clips) - 1, min(SHEET_CLIPS, len(clips))).round().astype(int))]
        sheet, note = contact_sheet(fitted(some)), "each row is a clip, time runs to the right"
        pictures.append(
            picture(png_bytes(sheet), f"{caption}: frames of each clip from left to right", f"{caption}; {note}")
        )
    return f'<div class="pair">{"".join(pictures)}</div>'


def training_html(films: Films, previews: Sequence[Preview]) -> str:
    """One film: each row a seed, each column a moment of training; "" for fewer than two moments."""
    seeds = min((len(preview.clips_NTHWC) for preview in previews), default=0)
    if len(previews) < 2 or not seeds:
        return ""
    by_seed = [preview.clips_NTHWC[seed] for seed in range(seeds) for preview in previews]
    speed = len(by_seed[0]) / films.run.generator.frames
    moments = [counted(preview.clips_seen) for preview in previews]
    shown = film(
        films.generated(mosaic(np.stack(by_seed), columns=len(previews)), speed),
        f"From left to right after {', '.join(moments)} clips of training; each row is one seed.",
        label=f"{seeds} seeds at {len(previews)} moments of training, playing",
        controls=True,
    )
    heads = "".join(f"<span>{moment}</span>" for moment in moments)
    broad = shown.replace("<figure>", f'<figure class="broad"><div class="times" aria-hidden="true">{heads}</div>', 1)
    return (
        '<p class="soft">The same seeds at successive checkpoints. Shapes and motion should appear from left to right '
        f"and then stay; rows that grow alike are a collapse.</p>{broad}"
    )


def nearest_html(films: Films, pairs: Sequence[tuple[UInt8, UInt8, float]]) -> str:
    """Each generated clip beside the training clip that it is nearest to; "" when there are none."""
    if not pairs:
        return ""
    shown: list[str] = []
    for fake_THWC, train_THWC, ratio in pairs:
        said = f"{figure(ratio)} times the usual distance" + (": as near as a copy" if ratio < COPIED_BELOW else "")
        label = f"A generated clip and its nearest training clip, {said}"
        both_THWC = mosaic(np.stack([fake_THWC, train_THWC]), columns=2)
        shown.append(film(films.generated(both_THWC), f"{said}.", label=label))
    return (
        '<p class="soft">The generated clips that lie nearest to a training clip: left the generated one, right the '
        "training one. The distance is over that of held-out clips to their nearest training clips: near 1 is right, "
        "near 0 is copying.</p>"
        f'<div class="films wide">{"".join(shown)}</div>'
    )


def counted(number: int) -> str:
    """A count in few letters: 870, 2.1k, 35k, 1.2M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            short = number / size
            return f"{short:.0f}{letter}" if short >= 9.95 else f"{short:.1f}{letter}"
    return str(number)


def fitted(clips_NTHWC: UInt8) -> UInt8:
    """Clips whose longer side is about TILE pixels: enlarged, or made smaller, by a whole factor."""
    tall, wide = clips_NTHWC.shape[2:4]
    zoom, factor = max(1, TILE // max(tall, wide)), max(tall, wide) // TILE
    if factor <= 1:
        return clips_NTHWC.repeat(zoom, axis=2).repeat(zoom, axis=3)
    cut = clips_NTHWC[:, :, : tall // factor * factor, : wide // factor * factor]
    blocks = cut.reshape(*cut.shape[:2], tall // factor, factor, wide // factor, factor, 3)
    return blocks.mean(axis=(3, 5), dtype=np.float32).round().astype(np.uint8)


def mosaic(clips_NTHWC: UInt8, columns: int = COLUMNS) -> UInt8:
    """Many clips in one: uint8 [T, H', W', 3] with even sides, each tile about TILE pixels wide or tall."""
    clips = fitted(clips_NTHWC)
    sides = ((BORDER, BORDER), (BORDER, BORDER))
    clips = np.pad(clips, ((0, -len(clips) % columns), (0, 0), *sides, (0, 0)), constant_values=GREY)
    rows, (frames, height, width) = len(clips) // columns, clips.shape[1:4]
    grid = clips.reshape(rows, columns, frames, height, width, 3).transpose(2, 0, 3, 1, 4, 5)
    whole = grid.reshape(frames, rows * height, columns * width, 3)
    even = whole[:, : whole.shape[1] // 2 * 2, : whole.shape[2] // 2 * 2]
    return np.ascontiguousarray(even)
