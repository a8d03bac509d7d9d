"""From a finished run to evaluation.json and report.html: sample, compare with held-out clips, write.

The dataset's current version is used, not the one that was trained on, so that a champion and its
challenger meet on the same clips. Equal weights, dataset version, configuration and protocol give
equal figures on one machine, and are not computed twice; what concerns the real clips alone is
computed once for all generators (real_cache.py).
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.manifest import load_dataset
from ..errors import ConfigError, CorruptDataError, VganError
from ..progress import Progress, silent
from ..records import Dataset, Evaluation, GeneratorRecord, TrainedRun
from ..sampling import Sampler
from ..storage import read_bytes, write_atomic
from ..workspace import RunFolder, Workspace
from .calibration import Draws, calibrate, calibrate_probes, count_draws
from .evidence import FakeSide, fake_side, one_again, read_clips
from .features import Embedding
from .field import detector_of, field_metrics, field_work, real_features
from .metrics import spread
from .neighbours import nearest
from .pages import write_pages
from .real_cache import keep_real_side, load_real_side
from .real_side import RealSide, make_real_side, open_training, protocol, real_key, real_work
from .suite import GUARDS, PRIMARY
from .views import Views

log = logging.getLogger(__name__)

MOST_FOR_DIVERSITY = 1024
NEAREST_SHOWN = 4

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]
Nearest = tuple[UInt8, UInt8, float]  # generated clip, training clip, distance over the usual one


def evaluate(
    workspace: Workspace, run: str, config: EvaluateConfig, *, progress: Progress = silent
) -> tuple[Evaluation, bool]:
    """Evaluate a finished run on the held-out clips of its dataset's current version.

    Writes runs/<run>/report.html and then evaluation.json, the commit point.

    Returns:
        the evaluation, and whether it was there already ("unchanged").

    Raises:
        ConfigError: unknown run or dataset, or a generator of other clips than the dataset's.
        BadInputError: too few held-out clips, or no training clip.
        CorruptDataError: shards or weights do not match their records.
    """
    folder = workspace.run(run)
    trained = load_run(workspace, run)
    dataset = load_dataset(workspace, trained.dataset)
    found = _existing(folder, trained, dataset, config)
    if found is not None:
        return found, True
    assessed = _assess(Sampler(folder.generator), workspace, dataset, run, config, progress)
    shown = (assessed.real.shown_NTHWC, assessed.fake.shown_NTHWC, _nearest(workspace, dataset, config, assessed))
    write_pages(folder, trained, dataset, assessed.evaluation, *shown)
    write_atomic(folder.evaluation, assessed.evaluation.to_json())
    return assessed.evaluation, False


def evaluate_generator(
    generator: str | os.PathLike[str] | Sampler,
    workspace: Workspace,
    dataset: str,
    run: str,
    config: EvaluateConfig,
    *,
    version: str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate any generator, or its folder, on the version of a dataset with this digest, None for the current one.

    Writes nothing; raises as `evaluate`.
    """
    held = load_dataset(workspace, dataset, version)
    sampler = generator if isinstance(generator, Sampler) else Sampler(generator)
    return _assess(sampler, workspace, held, run, config, progress).evaluation


def load_run(workspace: Workspace, run: str) -> TrainedRun:
    """Record of a finished run; raises ConfigError for an unknown or unfinished one."""
    folder = workspace.run(run)
    if not folder.record.exists():
        known = ", ".join(workspace.run_keys()[:10]) or "none yet"
        raise ConfigError(f"there is no finished run {run!r} in {workspace.root}.", hint=f"Finished runs: {known}.")
    return TrainedRun.from_json(read_bytes(folder.record), str(folder.record))


def _existing(folder: RunFolder, trained: TrainedRun, dataset: Dataset, config: EvaluateConfig) -> Evaluation | None:
    if not (folder.evaluation.exists() and folder.report.exists()):
        return None
    try:
        found = Evaluation.from_json(read_bytes(folder.evaluation), str(folder.evaluation))
    except CorruptDataError:
        return None  # computed again below, which is the remedy
    same = (
        found.weights_sha256 == trained.generator.weights_sha256
        and found.dataset_digest == dataset.digest()
        and found.config == config
        and found.protocol == protocol()
    )
    return found if same else None


@dataclass(frozen=True)
class _Assessed:
    evaluation: Evaluation
    real: RealSide
    fake: FakeSide
    sampler: Sampler


class _Meter:
    """Adds up what is done, and the seconds since the last call under what they were spent on."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, count: int, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self._last
        self._last = now
        self.done += count
        self.progress(min(self.done, self.total), self.total, what)


def _assess(
    sampler: Sampler, workspace: Workspace, dataset: Dataset, run: str, config: EvaluateConfig, progress: Progress
) -> _Assessed:
    _check_fits(sampler.record, dataset)
    detector = detector_of(dataset, config)
    key = real_key(dataset, config)
    kept = workspace.real_side(dataset.name, key)
    real = load_real_side(kept, key, len(dataset.labels))
    total = config.clips + count_draws(config.bootstrap, 0)[1] + (real_work(dataset, config) if real is None else 0)
    total += field_work(dataset, config) if detector else 0
    meter = _Meter(progress, total)
    if real is None:
        real = make_real_side(workspace, dataset, config, meter)
        keep_real_side(kept, key, real)
    else:
        meter(0, "real clips: kept")
    field = real_features(workspace, dataset, config, detector, meter) if detector else {}
    fake = fake_side(sampler, real.labels_N, config, real.traits is not None, meter)
    draws = real.draws(config)
    placed = real.space.place(fake.views, fake.labels_N, real.train_MK)
    metrics = calibrate(real.views, placed, real.reference, draws, tick=lambda what: meter(1, f"generated: {what}"))
    if detector:
        metrics += field_metrics(field, sampler, fake.labels_N, config, detector, meter)
    of_fake, of_real = _probes(real, fake, draws)
    diversity = _diversity(real, placed, fake.labels_N)
    meter(total - meter.done, "summing up")
    evaluation = Evaluation(
        run=run,
        weights_sha256=sampler.record.weights_sha256,
        dataset=dataset.name,
        dataset_digest=dataset.digest(),
        config=config,
        protocol=protocol(),
        heldout_clips=len(real.labels_N),
        generated_clips=len(fake.labels_N),
        metrics=metrics,
        probes=of_fake,
        probes_real=of_real,
        finite=fake.finite,
        diversity=diversity,
        primary=PRIMARY,
        guards=GUARDS,
        halves=draws.halves,
        training_clips=len(real.train_MK),
        timings={what: round(seconds, 3) for what, seconds in meter.seconds.items()},
    )
    return _Assessed(evaluation, real, fake, sampler)


def _check_fits(record: GeneratorRecord, dataset: Dataset) -> None:
    """Refuse a generator of other clips or classes than the dataset's."""
    config = dataset.config
    made = (record.labels, record.frames, record.height, record.width)
    held = (dataset.labels, config.frames, config.height, config.width)
    if made != held:
        raise ConfigError(
            f"the generator makes clips of {made[1]} x {made[2]} x {made[3]} with classes {list(made[0])}, "
            f"but dataset {dataset.name} now holds {held[1]} x {held[2]} x {held[3]} with classes {list(held[0])}.",
            hint="Train again on the dataset's current version.",
        )


def _nearest(workspace: Workspace, dataset: Dataset, config: EvaluateConfig, assessed: _Assessed) -> list[Nearest]:
    """The generated clips that lie nearest to a training clip, with that clip and how near: see `report_html`."""
    real, fake = assessed.real, assessed.fake
    embedding = Embedding(fake.views["clip"], fake.views["motion"])
    distance_N, index_N = nearest(real.space.bare(embedding), real.train_MK)
    chosen = np.argsort(distance_N, kind="stable")[:NEAREST_SHOWN]
    try:
        clips = open_training(workspace, dataset, config, check=False)
    except VganError as error:
        log.warning("the report shows no training clips: %s", error.message)
        return []
    try:
        train_NTHWC = read_clips(clips, real.train_indices_M[index_N[chosen]])
    finally:
        clips.close()
    usual = max(float(np.median(real.views["novelty"])), 1e-12)
    made = (one_again(assessed.sampler, fake.labels_N, config.seed, place) for place in chosen.tolist())
    ratios = (distance_N[chosen] / usual).tolist()
    return list(zip(made, train_NTHWC, ratios, strict=True))


def _diversity(real: RealSide, placed: Views, fake_labels_N: Labels) -> float:
    """Mean distance between generated clips of one class over that between real ones; 0 when collapsed."""
    fakes = slice(None, None, -(-len(placed) // MOST_FOR_DIVERSITY))
    reals = slice(None, None, -(-len(real.views) // MOST_FOR_DIVERSITY))
    usual = spread(real.views["clip"][reals], real.labels_N[reals])
    if not usual:  # no class has two different clips: compare over all classes
        usual = spread(real.views["clip"][reals], real.labels_N[reals] * 0)
        fake_labels_N = fake_labels_N * 0
    return spread(placed["clip"][fakes], fake_labels_N[fakes]) / usual if usual else 0.0


def _probes(real: RealSide, fake: FakeSide, draws: Draws) -> tuple[dict[str, float], dict[str, float]]:
    if real.traits is None or fake.traits is None:
        return {}, {}
    return calibrate_probes(real.traits, real.labels_N, fake.traits, fake.labels_N, draws)
