"""Promises of an evaluation with FVD: calibrated like every other figure, by the user's network alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_detector import Projection, script
from made_runs import FRAMES, render, write_dataset, write_run
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import EvaluateConfig, build
from vgan.data.shapes import DIRECTIONS
from vgan.errors import BadInputError, ConfigError
from vgan.evaluation import field
from vgan.evaluation.calibration import draw_halves
from vgan.evaluation.evaluate import evaluate
from vgan.evaluation.fvd import MOST, Detector
from vgan.records import Dataset, Evaluation
from vgan.workspace import Workspace

HELD, MADE = 24, 20


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("fvd") / "network.pt"
    return path, script(Projection(side=16), path)


@pytest.fixture(scope="module")
def config(weights: tuple[Path, str]) -> EvaluateConfig:
    return EvaluateConfig(clips=MADE, bootstrap=20, fvd_weights=str(weights[0]), fvd_sha256=weights[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Dataset]:
    """Two runs, one, and other, on a dataset of moving shapes."""
    workspace = Workspace.open(tmp_path_factory.mktemp("field") / "workspace")
    clips_NTHWC, labels_N = render(HELD + 8)
    dataset = write_dataset(workspace, "shapes", clips_NTHWC, [DIRECTIONS[i] for i in labels_N], train=8)
    for run in ("one", "other"):
        write_run(workspace, dataset, run)
    return workspace, dataset


@pytest.fixture(scope="module")
def evaluated(made: tuple[Workspace, Dataset], config: EvaluateConfig) -> Evaluation:
    return evaluate(made[0], "one", config)[0]


@pytest.mark.e2e
def test_both_figures_have_floor_controls_interval_and_a_name_that_says_their_counts(evaluated: Evaluation) -> None:
    half = HELD // 2
    for name in (f"fvd{half}_{FRAMES}f", f"kvd{half}_{FRAMES}f"):
        metric = evaluated.metric(name)
        assert (metric.better, metric.real_clips, metric.fake_clips, len(metric.draws)) == ("lower", half, half, 20)
        assert metric.low <= metric.value <= metric.high
        assert set(metric.controls) == {"frozen", "shuffled", "noise", "blurred", "copied"}
        for seen in ("frozen", "shuffled", "noise"):
            assert metric.controls[seen] > metric.floor, seen
        assert metric.value > metric.floor and metric.score is not None and metric.score > 0


def test_without_weights_nothing_is_called_fvd(made: tuple[Workspace, Dataset]) -> None:
    """FAULTS 47: without the user's network no figure is called FVD, and nothing is fetched."""
    plain = evaluate(made[0], "one", EvaluateConfig(clips=MADE, bootstrap=20))[0]
    assert not [metric.name for metric in plain.metrics if "vd" in metric.name]


@pytest.mark.e2e
def test_what_the_network_says_of_real_clips_is_computed_once_for_all_generators(
    made, config, evaluated, monkeypatch
) -> None:
    seen: list[int] = []
    features = Detector.features

    def counted(self: Detector, clips_NTHWC: np.ndarray) -> np.ndarray:
        seen.append(len(clips_NTHWC))
        return features(self, clips_NTHWC)

    monkeypatch.setattr(Detector, "features", counted)
    other = evaluate(made[0], "other", config)[0]
    assert sum(seen) == MADE + 2  # and two on which the network is tried
    name = f"fvd{HELD // 2}_{FRAMES}f"
    assert other.metric(name).floor == evaluated.metric(name).floor
    assert other.metric(name).controls == evaluated.metric(name).controls
    assert other.metric(name).value != evaluated.metric(name).value


def test_a_network_of_another_hash_is_refused_before_anything_is_computed(made, config, monkeypatch) -> None:
    monkeypatch.setattr("vgan.evaluation.evaluate.load_real_side", lambda *_: pytest.fail("clips were looked at"))
    words = ["evaluate", "--run", "other", "--clips", str(MADE), "--fvd-weights", str(config.fvd_weights)]
    words += ["--fvd-sha256", "0" * 64, "--workspace", str(made[0].root)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "was not loaded" in result.output and "runs code" in result.output


def test_too_few_videos_for_one_clip_of_each_are_told(workspace, config) -> None:
    clips_NTHWC, labels_N = render(8)
    dataset = write_dataset(workspace, "few", clips_NTHWC, [DIRECTIONS[i] for i in labels_N], train=5)
    detector = field.detector_of(dataset, config)
    assert detector is not None
    with pytest.raises(BadInputError, match="only 3 videos are held out") as caught:
        field.real_features(workspace, dataset, config, detector, lambda count, what: None)
    assert "--fvd-weights" in caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [{"fvd_weights": "a.pt"}, {"fvd_sha256": "0" * 64}, {"fvd_weights": "a.pt", "fvd_sha256": "0" * 63}],
)
def test_weights_and_hash_are_given_together_or_not_at_all(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="fvd_sha256"):
        build(EvaluateConfig, fields)


def test_the_fields_name_needs_the_fields_count_on_both_sides() -> None:
    enough = draw_halves(np.arange(field.MOST_REAL), MOST, 2, 0, MOST)
    assert field.comparisons(enough.count, 16)[0].figures[0].name == "fvd2048_16f"
    fewer = draw_halves(np.arange(3000), MOST, 2, 0, MOST)
    assert field.comparisons(fewer.count, 16)[0].figures[0].name == "fvd1500_16f"
