"""Runs made by hand: real weights of a tiny network, and figures that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from made_generator import generator_record, write_generator

from vgan.config import EvaluateConfig, IngestConfig, TrainConfig
from vgan.records import Dataset, Evaluation, Metric, TrainedRun, digest_of
from vgan.storage import write_atomic
from vgan.workspace import Workspace

FRECHET = "frechet"
MakeRun = Callable[..., str]


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server of the person who runs the tests."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    """A committed version without clips: registration reads only its manifest."""
    config = IngestConfig(frames=4, height=16, width=16, labels="folder")
    made = Dataset(name="toys", number=1, config=config, labels=("left", "up"), batches=())
    folder = workspace.dataset("toys")
    write_atomic(folder.manifest, made.to_json())
    write_atomic(folder.version(made.digest()), made.to_json())
    return made


@pytest.fixture
def make_run(workspace: Workspace, dataset: Dataset) -> MakeRun:
    def make(key: str, *, figure: float = 1.0, finite: bool = True, diversity: float = 1.0, seed: int = 0) -> str:
        folder = workspace.run(key)
        record = write_generator(folder.generator, generator_record(run=key, dataset_digest=dataset.digest()), seed)
        trained = TrainedRun(
            run=key, dataset="toys", dataset_digest=dataset.digest(), config=TrainConfig(seed=seed), device="cpu",
            steps=3, clips=48, seconds=1.0, generator=record, git_commit="0" * 40,
        )  # fmt: skip
        write_atomic(folder.record, trained.to_json())
        write_atomic(folder.evaluation, _evaluation(trained, figure, finite, diversity).to_json())
        lines = [{"step": s, "clips": 16 * s, "loss_d": 1 / s, "loss_g": 2.0} for s in (1, 2, 3)]
        write_atomic(folder.metrics, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        return key

    return make


def _evaluation(trained: TrainedRun, figure: float, finite: bool, diversity: float) -> Evaluation:
    metric = Metric(
        name=FRECHET, value=figure, low=figure, high=figure, floor=0.1, controls={"frozen": 9.0},
        score=0.1, draws=(figure,) * 3, better="lower",
        real_clips=20, fake_clips=20,
    )  # fmt: skip
    return Evaluation(
        run=trained.run, weights_sha256=trained.generator.weights_sha256, dataset="toys",
        dataset_digest=trained.dataset_digest, config=EvaluateConfig(), protocol=digest_of("test"),
        heldout_clips=40, generated_clips=80, metrics=(metric,), probes={}, probes_real={}, finite=finite,
        diversity=diversity, primary=FRECHET, guards=(),
    )  # fmt: skip
