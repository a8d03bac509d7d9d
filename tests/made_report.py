"""Runs with figures, curves and previews that no training made, for tests of what people read of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from made_generator import SHAPE, generator_record
from numpy.typing import NDArray

from vgan.config import EvaluateConfig, IngestConfig, TrainConfig
from vgan.data.manifest import new_version
from vgan.evaluation.pages import write_pages
from vgan.media.encode import contact_sheet, png_bytes
from vgan.records import Check, Dataset, Evaluation, Metric, Outcome, TrainedRun, Verdict
from vgan.storage import write_atomic
from vgan.workspace import RunFolder, Workspace

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x><!--verdict-->"
CONTROLS = ("frozen", "shuffled", "noise", "blurred", "mislabelled", "copied")
NAMES = (
    *("frechet", "kernel", "motion", "precision", "recall", "density", "coverage", "classifier", "neighbour"),
    *("memorisation", "sliced_frames", "sliced_xt", "sliced_yt", "sliced_changes"),
    *("motion_size", "motion_direction", "flicker", "fvd2048_16f", "kvd2048_16f"),
)
HIGHER = ("precision", "recall", "density", "coverage", "memorisation")
STEPS, BATCH = 60, 8
CHECKPOINTS = (20, 40, 60)


def made_metric(
    name: str,
    value: float = 0.4,
    floor: float = 0.1,
    controls: tuple[float, ...] = (0.9, 0.5, 0.6, 0.3, 0.2, 0.12),
    better: Literal["lower", "higher"] = "lower",
) -> Metric:
    """A figure with its score."""
    worst = (max if better == "lower" else min)(controls, default=floor)
    told = worst > floor if better == "lower" else worst < floor
    return Metric(
        name=name, value=value, low=value - 0.05, high=value + 0.05, floor=floor,
        controls=dict(zip(CONTROLS, controls, strict=False)),
        score=(value - floor) / (worst - floor) if told else None, draws=(value,),
        better=better, real_clips=14, fake_clips=14,
    )  # fmt: skip


def made_metrics() -> tuple[Metric, ...]:
    """One of each name that an evaluation may hold."""
    good = (0.1, 0.5, 0.4, 0.7, 0.8, 0.88)
    return tuple(made_metric(name, 0.6, 0.9, good, "higher") if name in HIGHER else made_metric(name) for name in NAMES)


def made_dataset(labels: tuple[str, ...] = ("left", "up")) -> Dataset:
    """A version without any video."""
    config = IngestConfig(frames=SHAPE.frames, height=SHAPE.height, width=SHAPE.width, labels="folder")
    return new_version("toys", 3, config, set(labels), [])


def made_run(dataset: Dataset, run: str = "toys-1", warnings: tuple[str, ...] = ()) -> TrainedRun:
    """A finished run of 60 steps."""
    record = generator_record(labels=dataset.labels, run=run, dataset=dataset.name, dataset_digest=dataset.digest())
    return TrainedRun(
        run=run, dataset=dataset.name, dataset_digest=dataset.digest(), config=TrainConfig(), device="cpu", steps=STEPS,
        clips=STEPS * BATCH, seconds=9.0, generator=record, git_commit=None, warnings=warnings,
    )  # fmt: skip


def made_evaluation(dataset: Dataset, run: TrainedRun, metrics: tuple[Metric, ...] | None = None) -> Evaluation:
    """Figures of a run that is 0.4 away from real clips, which reach 0.1."""
    return Evaluation(
        run=run.run, weights_sha256=run.generator.weights_sha256, dataset=dataset.name,
        dataset_digest=dataset.digest(), config=EvaluateConfig(clips=32, bootstrap=20), protocol="made/1",
        heldout_clips=28, generated_clips=32, metrics=made_metrics() if metrics is None else metrics,
        probes={"direction": 0.75}, probes_real={"direction": 1.0}, finite=True, diversity=0.8, primary="frechet",
        guards=("recall", "memorisation", "motion"),
    )  # fmt: skip


def made_verdict(outcome: Outcome = "promoted", said: str = "It beats the champion.") -> Verdict:
    """What the gate says of it, with one check passed and one that depends on the outcome."""
    checks = (
        Check(name="finite", passed=True, said="Its samples and figures are finite."),
        Check(name="frechet", passed=outcome == "promoted", said=said),
    )
    return Verdict(run="toys-1", rival="toys-0", outcome=outcome, tolerance=0.05, checks=checks)


def made_clips(num: int, seed: int = 0) -> NDArray[np.uint8]:
    """Clips of flat squares that move: uint8 [N, T, H, W, 3]."""
    random = np.random.default_rng(seed)
    clips = np.zeros((num, SHAPE.frames, SHAPE.height, SHAPE.width, 3), np.uint8)
    for clip, colour, row in zip(clips, random.integers(80, 256, (num, 3)), random.integers(0, 12, num), strict=True):
        for time, frame in enumerate(clip):
            frame[row : row + 4, 3 * time : 3 * time + 4] = colour
    return clips


@dataclass(frozen=True)
class Made:
    """A run with its documents."""

    folder: RunFolder
    run: TrainedRun
    dataset: Dataset
    evaluation: Evaluation

    @property
    def page(self) -> str:
        """The report as it is now."""
        return self.folder.report.read_text()

    @property
    def card(self) -> str:
        """The model card as it is now."""
        return self.folder.card.read_text()


def write_made(workspace: Workspace, hostile: str = "") -> Made:
    """Write what training leaves of a run, and its report and card.

    `hostile` is woven into everything that a stranger can name.
    """
    dataset = made_dataset((hostile or "left", f"up{hostile}"))
    run = made_run(dataset, warnings=(f"the generator may copy {hostile}",) if hostile else ())
    evaluation = made_evaluation(dataset, run)
    if hostile:
        extra = Metric.model_validate(made_metric(hostile).model_dump() | {"controls": {hostile: 0.9}})
        evaluation = evaluation.model_copy(update={"metrics": (*evaluation.metrics, extra), "protocol": hostile})
    folder = workspace.run(run.run)
    for step in CHECKPOINTS[:-1]:
        write_atomic(folder.samples / f"step-{step:08d}.png", png_bytes(contact_sheet(made_clips(12, step))))
    write_atomic(folder.contact_sheet, png_bytes(contact_sheet(made_clips(12, CHECKPOINTS[-1]))))
    write_atomic(folder.metrics, _jsonl(_metrics_lines(hostile)) + b'[1]\n{"step": 9, "loss_d": NaN}\n{"half')
    write_atomic(folder.timing, _jsonl([{"event": "checkpoint", "step": s, "seconds": s / 10} for s in CHECKPOINTS]))
    clips, fakes = made_clips(8), made_clips(8, 1)
    write_pages(folder, run, dataset, evaluation, clips, fakes, [(fakes[0], clips[0], 0.3), (fakes[1], clips[1], 1.1)])
    return Made(folder, run, dataset, evaluation)


def _metrics_lines(hostile: str) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for step in range(1, STEPS + 1):
        line: dict[str, object] = {"step": step, "clips": BATCH * step, "loss_d": 0.7, "loss_g": 0.7 + step % 2}
        line |= {"gap": 1 / step, "collapsed_looks": 0, hostile or "oddly_new": step**0.5, "text": "x"}
        lines.append(line | ({"sample_diversity": 0.5 + step / 200} if step % 20 == 0 else {}))
    return lines


def _jsonl(lines: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
