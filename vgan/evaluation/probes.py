"""Exact questions to clips of the `shapes` law: is it one flat object on black, and does it move as asked?

No network and no training: the law is known (see vgan/data/shapes.py), so every property can be
measured from pixels. Read them together: each alone can be fooled, by a full grey frame, by a
still picture, by one perfect clip made again and again.

    direction     share of clips that travel mainly along the axis of their class, the right way
    speed         share of clips that also travel as far as real ones do (5 % to 95 % of them, halved and
                  enlarged by half)
    one_object    share of frames with one compact object of a plausible size
    background    mean brightness around the object, 0 to 255; of the whole frame where no object is
    colour_drift  how far the object's colour strays from its mean over the clip, 0 to 255
    purity        overlap of the object with the ideal square or disc of its size, 0 to 1
    kinds         share of clips that are as plainly a square or a disc as all but the vaguest twentieth of real
                  ones, each kind counting at most as often as among real clips: only one kind gives about half
    cells         share of the kinds of real clips (class x colour x kind x size) that appear

Shapes: N clips, T frames, H height, W width, C colours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..data.shapes import DIRECTIONS

Double = NDArray[np.float64]
Labels = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

DARK = 32.0  # a frame whose brightest pixel is below shows nothing
AREA = (0.006, 0.08)  # of the frame; the law's smallest disc has .012, its largest square .048
COMPACT = 0.25  # second moment over area: a disc has .159, a square .167, two objects far more
CHUNK = 32  # clips measured at once
VAGUE = 0.05  # share of real clips of a kind that need not be told
REAL_AT_LEAST = 0.95  # what real clips must reach for the data to count as shapes


@dataclass(frozen=True)
class Traits:
    """What was measured in N clips; nan where a clip shows too few objects to tell."""

    one_object: Double  # [N] share of frames
    background: Double  # [N] 0 to 255
    drift: Double  # [N] 0 to 255
    purity: Double  # [N] 0 to 1
    roundness: Double  # [N] overlap with the ideal disc less that with the ideal square, -1 to 1
    travel: Double  # [N, 2] (x, y) over the clip, in parts of the frame, y downwards
    cell: Labels  # [N] kind of clip without its class, 0 to 31; -1 where none can be told

    def __getitem__(self, indices: NDArray[np.int64]) -> Traits:
        return Traits(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    @classmethod
    def join(cls, parts: list[Traits]) -> Traits:
        """The traits of all clips of `parts`, in order."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


def measure(clips_NTHWC: UInt8) -> Traits:
    """Measure clips, uint8 [N, T, H, W, 3]."""
    starts = range(0, len(clips_NTHWC), CHUNK)
    return Traits.join([_measure_chunk(clips_NTHWC[start : start + CHUNK].astype(np.float32)) for start in starts])


def is_shapes(label_names: tuple[str, ...], labels_N: Labels, real: Traits) -> bool:
    """Whether data follow the law of `shapes`: by their classes and because the real clips pass the probes."""
    if label_names != DIRECTIONS:
        return False
    figures = summarise(real, labels_N, real, labels_N)
    return min(figures["direction"], figures["one_object"]) >= REAL_AT_LEAST


def summarise(traits: Traits, labels_N: Labels, real: Traits, real_labels_N: Labels) -> dict[str, float]:
    """All probes of a set of clips but `cells`, all finite; `real` gives the usual speeds.

    Labels are places in `shapes.DIRECTIONS`.
    """
    right_way_N = _right_way(traits.travel, labels_N)
    forward = _forward(real.travel, real_labels_N)
    usual = forward[np.isfinite(forward)]
    low, high = np.quantile(usual, (0.05, 0.95)) if len(usual) else (np.inf, np.inf)
    distance_N = np.nan_to_num(_forward(traits.travel, labels_N))
    usual_speed_N = (distance_N >= low / 2) & (distance_N <= high * 1.5)
    return {
        "direction": float(right_way_N.mean()),
        "speed": float((right_way_N & usual_speed_N).mean()),
        "one_object": float(traits.one_object.mean()),
        "background": float(traits.background.mean()),
        "colour_drift": _mean_or(traits.drift, 255.0),
        "purity": float(traits.purity.mean()),
        "kinds": _plain_kinds(traits.roundness, real.roundness),
    }


def _plain_kinds(roundness_N: Double, real_N: Double) -> float:
    """Share of clips that are told to be a square or a disc as plainly as real ones; see `kinds` above."""
    told, usual = 0.0, 0.0
    for sign in (1, -1):
        real_kind = sign * real_N[sign * real_N > 0]
        if len(real_kind):
            plain = np.quantile(real_kind, VAGUE)
            share = float((sign * real_N >= plain).mean())
            told += min(share, float((sign * roundness_N >= plain).mean()))  # nan is not plain
            usual += share
    return told / usual if usual else 0.0


def _forward(travel_N2: Double, labels_N: Labels) -> Double:
    """How far each clip goes the way of its class; negative is the wrong way."""
    axis_N = np.where(labels_N == DIRECTIONS.index("left"), 0, 1)
    return -travel_N2[np.arange(len(travel_N2)), axis_N]


def _right_way(travel_N2: Double, labels_N: Labels) -> NDArray[np.bool_]:
    forward_N = np.nan_to_num(_forward(travel_N2, labels_N))
    # Less than a fiftieth of the frame over a clip is no motion.
    return (forward_N > 0.02) & (forward_N >= np.nan_to_num(np.abs(travel_N2)).max(1))


def covered_cells(cell_N: Labels, labels_N: Labels, real_cell_N: Labels, real_labels_N: Labels) -> float:
    """Share of the kinds of real clips that appear; depends on the counts, so compare at equal ones."""
    wanted = {(int(c), int(k)) for c, k in zip(real_cell_N, real_labels_N, strict=True) if c >= 0}
    made = {(int(c), int(k)) for c, k in zip(cell_N, labels_N, strict=True)}
    return len(wanted & made) / len(wanted) if wanted else 0.0


def _mean_or(values_N: Double, otherwise: float) -> float:
    known = values_N[np.isfinite(values_N)]
    return float(known.mean()) if len(known) else otherwise


@dataclass(frozen=True)
class _Objects:
    """What shines in each frame; arrays [N, T] but for the masks."""

    cover: NDArray[np.float32]  # [N, T, H, W] brightness over the frame's greatest, near what shines
    near: NDArray[np.bool_]  # [N, T, H, W] what shines, two pixels wider
    area: Double  # pixels
    x: Double  # centre, pixels
    y: Double
    valid: NDArray[np.bool_]  # one compact object of a plausible size


def _measure_chunk(clips_NTHWC: NDArray[np.float32]) -> Traits:
    bright_NTHW = clips_NTHWC.max(-1)
    objects = _find_objects(bright_NTHW)
    outside = np.where(objects.valid[..., None, None], ~objects.near, True)
    background_NT = (bright_NTHW * outside).sum((2, 3)) / outside.sum((2, 3))
    colour_NTC = _colours(clips_NTHWC, objects)
    purity_NTk = np.stack([_overlap(objects, kind) for kind in ("square", "disc")], axis=2)
    valid_N = objects.valid.mean(1)
    return Traits(
        one_object=valid_N,
        background=background_NT.mean(1).astype(np.float64),
        drift=np.where(valid_N >= 0.5, _drift(colour_NTC, objects.valid), np.nan),
        purity=(purity_NTk.max(2) * objects.valid).mean(1),
        roundness=_roundness(purity_NTk, objects.valid),
        travel=_travel(objects, bright_NTHW.shape[2:4]),
        cell=_cells(objects, colour_NTC, purity_NTk, bright_NTHW.shape[2:4]),
    )


def _find_objects(bright_NTHW: NDArray[np.float32]) -> _Objects:
    height, width = bright_NTHW.shape[2:]
    peak_NT = bright_NTHW.max((2, 3))
    mask = bright_NTHW >= np.maximum(peak_NT / 2, DARK)[..., None, None]
    near = _widen(_widen(mask))
    cover = np.where(near, bright_NTHW / np.maximum(peak_NT, 1)[..., None, None], 0).astype(np.float32)
    area = np.maximum(cover.sum((2, 3), dtype=np.float64), 1e-9)
    y_H, x_W = _middles(height), _middles(width)
    rows, columns = cover.sum(3, dtype=np.float64), cover.sum(2, dtype=np.float64)
    y: Double = rows @ y_H / area
    x: Double = columns @ x_W / area
    moment: Double = (rows @ y_H**2 + columns @ x_W**2) / area - y**2 - x**2
    share = area / (height * width)
    plausible = (peak_NT >= DARK) & (share >= AREA[0]) & (share <= AREA[1])
    return _Objects(cover, near, area, x, y, plausible & (moment / area <= COMPACT))


def _middles(count: int) -> Double:
    """Where pixels (or frames) have their middles: .5, 1.5, ..."""
    return np.linspace(0.5, count - 0.5, count)


def _widen(mask_NTHW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its four neighbours' pixels."""
    wide = mask_NTHW.copy()
    wide[:, :, 1:] |= mask_NTHW[:, :, :-1]
    wide[:, :, :-1] |= mask_NTHW[:, :, 1:]
    wide[..., 1:] |= mask_NTHW[..., :-1]
    wide[..., :-1] |= mask_NTHW[..., 1:]
    return wide


def _colours(clips_NTHWC: NDArray[np.float32], objects: _Objects) -> Double:
    """[N, T, 3] colour of the object: all its light over its area, so that soft edges do not darken it."""
    light_NTC = np.einsum("nthwc,nthw->ntc", clips_NTHWC, objects.near.astype(np.float32))
    return light_NTC.astype(np.float64) / objects.area[..., None]


def _drift(colour_NTC: Double, valid_NT: NDArray[np.bool_]) -> Double:
    count_N1 = np.maximum(valid_NT.sum(1), 1)[:, None]
    mean_NC = (colour_NTC * valid_NT[..., None]).sum(1) / count_N1
    strays_NT = np.abs(colour_NTC - mean_NC[:, None]).mean(2) * valid_NT
    return strays_NT.sum(1) / count_N1[:, 0]


def _side(objects: _Objects, kind: str) -> Double:
    """[N, T] width of a square or diameter of a disc of the object's area, in pixels."""
    return np.sqrt(objects.area * (1 if kind == "square" else 4 / np.pi))


def _overlap(objects: _Objects, kind: str) -> Double:
    """[N, T] what the object and an ideal one of its area and place share, of what either covers."""
    height, width = objects.cover.shape[2:]
    half = (_side(objects, kind) / 2)[..., None, None].astype(np.float32)
    dy = np.abs(_middles(height) - objects.y[..., None]).astype(np.float32)[..., None]
    dx = np.abs(_middles(width) - objects.x[..., None]).astype(np.float32)[:, :, None]
    if kind == "square":
        ideal = np.clip(half + 0.5 - dy, 0, 1) * np.clip(half + 0.5 - dx, 0, 1)
    else:
        ideal = np.clip(half + 0.5 - np.hypot(dy, dx), 0, 1)
    both = np.minimum(ideal, objects.cover).sum((2, 3), dtype=np.float64)
    either = np.maximum(ideal, objects.cover).sum((2, 3), dtype=np.float64)
    return both / np.maximum(either, 1e-9)


def _roundness(purity_NTk: Double, valid_NT: NDArray[np.bool_]) -> Double:
    """[N] mean over valid frames; nan below half valid frames."""
    margin_N = ((purity_NTk[..., 1] - purity_NTk[..., 0]) * valid_NT).sum(1) / np.maximum(valid_NT.sum(1), 1)
    return np.where(valid_NT.mean(1) >= 0.5, margin_N, np.nan)


def _travel(objects: _Objects, size: tuple[int, ...]) -> Double:
    """[N, 2] slope of a straight line through the centres, times the clip's length; nan below half valid frames."""
    valid = objects.valid.astype(np.float64)
    frames = valid.shape[1]
    count_N = np.maximum(valid.sum(1), 1)
    time_T = _middles(frames)
    time: Double = time_T - (valid @ time_T / count_N)[:, None]
    scatter_N = np.maximum((valid * time**2).sum(1), 1e-9)
    slopes: list[Double] = [
        (valid * time * place).sum(1) / scatter_N for place in (objects.x / size[1], objects.y / size[0])
    ]
    travel_N2 = np.stack(slopes, axis=1) * (frames - 1)
    return np.where((valid.mean(1) >= 0.5)[:, None], travel_N2, np.nan)


def _cells(objects: _Objects, colour_NTC: Double, purity_NTk: Double, size: tuple[int, ...]) -> Labels:
    """[N] colour (each channel below or above 128) x kind x side (below or above 11/64), from 0 to 31."""
    weight_NT = objects.valid / np.maximum(objects.valid.sum(1, keepdims=True), 1)
    colour_NC = (colour_NTC * weight_NT[..., None]).sum(1)
    disc_N = ((purity_NTk[..., 1] - purity_NTk[..., 0]) * weight_NT).sum(1) > 0
    sides = np.where(disc_N[:, None], _side(objects, "disc"), _side(objects, "square"))
    large_N = (sides * weight_NT).sum(1) / size[1] > 11 / 64
    code_N = (colour_NC >= 128) @ np.array([1, 2, 4]) + 8 * disc_N + 16 * large_N
    return np.where(objects.valid.mean(1) >= 0.5, code_N, -1).astype(np.int64)
