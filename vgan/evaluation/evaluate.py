"""From a finished run to evaluation.json and report.html: sample, compare with held-out clips, write.

The dataset's current version is used, not the one that was trained on, so that a champion and its
challenger meet on the same clips. Equal weights, dataset version, configuration and protocol give
equal figures on one machine, and are not computed twice.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..config import EvaluateConfig
from ..data.buckets.published import ensure_local
from ..data.loading.loader import ClipSet
from ..data.manifest import load_dataset
from ..data.shapes import DIRECTIONS
from ..errors import ConfigError, CorruptDataError
from ..progress import Progress, silent
from ..records import Dataset, Evaluation, GeneratorRecord, Metric, TrainedRun
from ..sampling import Sampler
from ..storage import read_bytes, write_atomic
from ..workspace import RunFolder, Workspace
from . import features, probes
from .calibration import GUARDS, PRIMARY, Draw, Points, calibrate, calibrate_probes, draw_halves
from .evidence import FakeSide, RealSide, fake_side, real_side, spoilt_embeddings
from .metrics import spread
from .report import report_html
from .space import Space
from .spoil import CONTROLS

VERSION = 1  # raise whenever equal clips would give other figures
MOST_FOR_DIVERSITY = 1024

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]


def protocol() -> str:
    """Name of the code behind the figures: those of another protocol cannot be compared."""
    return f"heldout-halves-{VERSION}/random-conv3d-{features.fingerprint()}"


def evaluate(
    workspace: Workspace, run: str, config: EvaluateConfig, *, progress: Progress = silent
) -> tuple[Evaluation, bool]:
    """Evaluate a finished run on the held-out clips of its dataset's current version.

    Writes runs/<run>/report.html and then evaluation.json, the commit point.

    Returns:
        the evaluation, and whether it was there already ("unchanged").

    Raises:
        ConfigError: unknown run or dataset, or a generator of other clips than the dataset's.
        BadInputError: too few held-out clips.
        CorruptDataError: shards or weights do not match their records.
    """
    folder = workspace.run(run)
    trained = load_run(workspace, run)
    dataset = load_dataset(workspace, trained.dataset)
    found = _existing(folder, trained, dataset, config)
    if found is not None:
        return found, True
    assessed = _assess(folder.generator, workspace, dataset, run, config, progress)
    page = report_html(trained, dataset, assessed.evaluation, assessed.real, assessed.fake, _curves(folder.metrics))
    write_atomic(folder.report, page.encode())
    write_atomic(folder.evaluation, assessed.evaluation.to_json())
    return assessed.evaluation, False


def evaluate_generator(
    generator_folder: str | os.PathLike[str],
    workspace: Workspace,
    dataset: str,
    run: str,
    config: EvaluateConfig,
    *,
    version: str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate any generator folder on the version of a dataset with this digest, None for the current one.

    Writes nothing; raises as `evaluate`.
    """
    held = load_dataset(workspace, dataset, version)
    return _assess(Path(generator_folder), workspace, held, run, config, progress).evaluation


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
    real: UInt8  # clips to show, [N, T, H, W, 3]
    fake: UInt8


class _Meter:
    """Adds up what is done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, count: int, what: str) -> None:
        self.done += count
        self.progress(min(self.done, self.total), self.total, what)


def _assess(
    folder: Path, workspace: Workspace, dataset: Dataset, run: str, config: EvaluateConfig, progress: Progress
) -> _Assessed:
    sampler = Sampler(folder)
    _check_fits(sampler.record, dataset)
    ensure_local(workspace, dataset, "heldout")
    clips = ClipSet(workspace.dataset(dataset.name), dataset, "heldout")
    heldout = min(len(clips), config.clips)
    meter = _Meter(progress, heldout + config.clips + len(CONTROLS) * heldout + config.bootstrap)
    measured = dataset.labels == DIRECTIONS
    try:
        real = real_side(clips, config, measured, meter)
        fake = fake_side(sampler, real.labels_N, config, measured, meter)
        draws = draw_halves(len(real.labels_N), len(fake.labels_N), config.bootstrap, config.seed)
        metrics, diversity = _figures(clips, dataset, real, fake, draws, config, meter)
    finally:
        clips.close()
    of_fake, of_real = _probes(dataset, real, fake, draws)
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
    )
    return _Assessed(evaluation, real.shown_NTHWC, fake.shown_NTHWC)


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


def _figures(
    clips: ClipSet,
    dataset: Dataset,
    real: RealSide,
    fake: FakeSide,
    draws: list[Draw],
    config: EvaluateConfig,
    meter: _Meter,
) -> tuple[tuple[Metric, ...], float]:
    """All metrics, and the diversity."""
    space = Space.fit(real.embedding, len(dataset.labels))
    real_points = Points.of(space, real.embedding, real.labels_N)
    fake_points = Points.of(space, fake.embedding, fake.labels_N)
    spoilt = spoilt_embeddings(clips, real, config, meter)
    controls = {name: Points.of(space, embedding, real.labels_N) for name, embedding in spoilt.items()}
    if len(dataset.labels) > 1:
        wrong = (real.labels_N + 1) % len(dataset.labels)
        controls["mislabelled"] = Points.of(space, real.embedding, wrong)
    metrics = calibrate(real_points, fake_points, controls, draws, lambda: meter(1, "comparing"))
    return metrics, _diversity(real_points, real.labels_N, fake_points, fake.labels_N)


def _diversity(real: Points, real_labels_N: Labels, fake: Points, fake_labels_N: Labels) -> float:
    """Mean distance between generated clips of one class over that between real ones; 0 when collapsed."""
    fakes = slice(None, None, -(-len(fake) // MOST_FOR_DIVERSITY))
    reals = slice(None, None, -(-len(real) // MOST_FOR_DIVERSITY))
    usual = spread(real.clip_NK[reals], real_labels_N[reals])
    if not usual:  # no class has two different clips: compare over all classes
        usual = spread(real.clip_NK[reals], real_labels_N[reals] * 0)
        fake_labels_N = fake_labels_N * 0
    return spread(fake.clip_NK[fakes], fake_labels_N[fakes]) / usual if usual else 0.0


def _probes(
    dataset: Dataset, real: RealSide, fake: FakeSide, draws: list[Draw]
) -> tuple[dict[str, float], dict[str, float]]:
    if real.traits is None or fake.traits is None:
        return {}, {}
    if not probes.is_shapes(dataset.labels, real.labels_N, real.traits):
        return {}, {}
    return calibrate_probes(real.traits, real.labels_N, fake.traits, fake.labels_N, draws)


def _curves(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl that hold an object; what is damaged is left out of the picture."""
    lines: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(cast(dict[str, Any], value))
    return lines
