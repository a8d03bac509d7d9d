"""FVD and KVD as figures like all others: with a floor of real halves, controls and an interval.

Held-out videos stand on the real side, one clip of each; what is known of them is kept for the next
generator. Generated clips are those of the suite, made once more, since the network takes a hundred
times as long as the generator.

Shapes: N held-out clips, M generated clips, F = 400 features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.buckets.published import ensure_local
from ..data.loading.loader import ClipSet
from ..errors import BadInputError
from ..records import Dataset, Metric, digest_of
from ..sampling import Sampler
from ..workspace import Workspace
from .calibration import FEWEST_HELDOUT, Tick, calibrate, count_draws, draw_halves, refer
from .evidence import groups_of, one_again, read_clips
from .fvd import FRAMES, MOST, Detector, figure_names, fvd, kvd, load_detector, one_of_each_video, random_runs
from .real_cache import keep_arrays, load_arrays
from .real_side import COPIED, open_training
from .spoil import CONTROLS
from .suite import LOOKS, TIME, Comparison, Figure, plain
from .views import Views

VERSION = 1  # raise whenever equal clips would give other features, and with it real_side.VERSION
MOST_REAL = 2 * MOST + MOST // 8  # so that two halves of MOST remain when groups of videos stay whole
CHUNK = 16  # clips in memory at once
CONTROL_DRAWS = 5  # a distance takes a tenth of a second
VIEW = "fvd"

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float32]
Labels = NDArray[np.int64]
Arrays = dict[str, NDArray[np.generic]]
Meter = Callable[[int, str], None]  # clips done since the last call, and what is being done


def detector_of(dataset: Dataset, config: EvaluateConfig) -> Detector | None:
    """The network that the user named, tried on clips of the dataset's shape; None when none is named."""
    if config.fvd_weights is None or config.fvd_sha256 is None:
        return None
    held = dataset.config
    shape_THWC = (min(FRAMES, held.frames), held.height, held.width, 3)
    return load_detector(Path(config.fvd_weights).expanduser(), config.fvd_sha256, shape_THWC)


def field_work(dataset: Dataset, config: EvaluateConfig) -> int:
    """At most so many clips and draws `real_features` and `field_metrics` tick off."""
    held = min(dataset.clips("heldout"), MOST_REAL)
    draws = sum(count_draws(config.bootstrap, len(CONTROLS) + 1, comparisons(1, 1)))
    return held * (2 + len(CONTROLS)) + min(config.clips, MOST) + draws


def comparisons(count: int, frames: int) -> tuple[Comparison, ...]:
    """Both distances between as many real and generated clips."""
    fvd_name, kvd_name = figure_names(count, frames)
    return (
        Comparison(VIEW, (Figure(fvd_name, "lower", LOOKS | TIME),), plain(fvd), CONTROL_DRAWS),
        Comparison(VIEW, (Figure(kvd_name, "lower", LOOKS | TIME),), plain(kvd), CONTROL_DRAWS),
    )


def real_features(
    workspace: Workspace, dataset: Dataset, config: EvaluateConfig, detector: Detector, tick: Meter
) -> Arrays:
    """What the network says of held-out clips, plain and spoilt, and of training clips: [N, F] by name.

    "held" has one clip of each held-out video, every control as many, and "groups" the number of each clip's group of
    videos. What was computed before is not computed again.

    Raises:
        BadInputError: too few videos are held out.
    """
    key = digest_of(
        {"fvd": VERSION, "dataset": dataset.digest(), "seed": config.seed, "weights": detector.sha256}
        | {"device": detector.device.type}
    )
    path = workspace.real_side(dataset.name, key)
    if (kept := load_arrays(path, key)) is not None:
        return kept
    ensure_local(workspace, dataset, "heldout")
    folder = workspace.dataset(dataset.name)
    clips = ClipSet(folder, dataset, "heldout")
    try:
        chosen_N = one_of_each_video(clips.keys, config.seed, MOST_REAL)
        if len(chosen_N) < FEWEST_HELDOUT:
            raise BadInputError(
                f"FVD takes one clip of each video, and only {len(chosen_N)} videos are held out; it needs "
                f"{FEWEST_HELDOUT} or more.",
                hint="Leave out --fvd-weights, or ingest more videos.",
            )
        arrays: Arrays = {"groups": groups_of(folder, dataset, clips.keys)[chosen_N]}
        arrays |= _spoilt(clips, chosen_N, config.seed, detector, tick)
    finally:
        clips.close()
    arrays[COPIED] = _copied(workspace, dataset, config, detector, len(chosen_N), tick)
    keep_arrays(path, key, arrays)
    return arrays


def _spoilt(clips: ClipSet, chosen_N: Labels, seed: int, detector: Detector, tick: Meter) -> dict[str, Float]:
    """Features of the clips as they are, "held", and spoilt in each way."""
    parts: dict[str, list[Float]] = {name: [] for name in ("held", *CONTROLS)}
    for start in range(0, len(chosen_N), CHUNK):
        piece = _runs(clips, chosen_N[start : start + CHUNK], seed, start)
        parts["held"].append(detector.features(piece))
        tick(len(piece), "FVD: held-out clips")
        for number, (name, spoil) in enumerate(CONTROLS.items()):
            parts[name].append(detector.features(spoil(piece, np.random.default_rng([seed, 8, start, number]))))
            tick(len(piece), "FVD: controls")
    return {name: np.concatenate(part) for name, part in parts.items()}


def _copied(
    workspace: Workspace, dataset: Dataset, config: EvaluateConfig, detector: Detector, count: int, tick: Meter
) -> Float:
    """Features of `count` training clips, one of each video; again and again the same when there are too few."""
    clips = open_training(workspace, dataset, config)
    try:
        chosen = one_of_each_video(clips.keys, config.seed, count)
        parts: list[Float] = []
        for start in range(0, len(chosen), CHUNK):
            parts.append(detector.features(_runs(clips, chosen[start : start + CHUNK], config.seed, start)))
            tick(len(parts[-1]), "FVD: training clips")
    finally:
        clips.close()
    return np.resize(np.concatenate(parts), (count, parts[0].shape[1]))


def _runs(clips: ClipSet, indices: Labels, seed: int, start: int) -> UInt8:
    return random_runs(read_clips(clips, indices), FRAMES, np.random.default_rng([seed, 7, start]))


def field_metrics(
    real: Arrays, sampler: Sampler, labels_M: Labels, config: EvaluateConfig, detector: Detector, tick: Meter
) -> tuple[Metric, ...]:
    """FVD and KVD of the generator, called by the clips on each side and their frames.

    Args:
        real: from `real_features`.
        sampler: makes the clips.
        labels_M: their labels; clip i has the seed `config.seed` + i.
        config: of the evaluation.
        detector: from `detector_of`.
        tick: called after each clip and each draw.
    """
    draws = draw_halves(real["groups"].astype(np.int64), min(len(labels_M), MOST), config.bootstrap, config.seed, MOST)
    # Labels are sorted, so the first ones would be of one class.
    places = np.sort(np.random.default_rng([config.seed, 9]).permutation(len(labels_M))[:MOST])
    fake = np.concatenate([detector.features(piece) for piece in _made(sampler, labels_M, config.seed, places, tick)])
    held = Views({VIEW: real["held"]})
    spoilt = {name: Views({VIEW: real[name]}) for name in (*CONTROLS, COPIED)}
    figures = comparisons(draws.count, min(FRAMES, sampler.record.frames))

    def told(_what: str) -> None:
        tick(1, "FVD: comparing")

    said: Tick = told
    reference = refer(held, spoilt, draws, figures, said)
    return calibrate(held, Views({VIEW: fake}), reference, draws, figures, said)


def _made(sampler: Sampler, labels_M: Labels, seed: int, places: Labels, tick: Meter) -> Iterator[UInt8]:
    """Generated clips from their first frame on, a few at a time."""
    for start in range(0, len(places), CHUNK):
        piece = places[start : start + CHUNK].tolist()
        yield np.stack([one_again(sampler, labels_M, seed, place)[:FRAMES] for place in piece])
        tick(len(piece), "FVD: generated clips")
