import pytest

from vgan.config import EvaluateConfig
from vgan.evaluation.gate import decide
from vgan.records import Evaluation, Metric


def evaluation(frechet: float = 0.5, **changes) -> Evaluation:
    metric = Metric(
        name="frechet", value=frechet, low=frechet, high=frechet, floor=0.1, controls={"frozen": 2.0},
        score=0.2, draws=(frechet,) * 3,
        better=changes.pop("better", "lower"), real_clips=50, fake_clips=50,
    )  # fmt: skip
    fields = {
        "run": "r", "weights_sha256": "0" * 64, "dataset": "d", "dataset_digest": "a" * 64,
        "config": EvaluateConfig(), "protocol": "p-1", "heldout_clips": 100, "generated_clips": 512,
        "metrics": (metric,), "probes": {}, "probes_real": {}, "finite": True, "diversity": 0.9, "primary": "frechet",
        "guards": (),
    }  # fmt: skip
    return Evaluation(**{**fields, **changes})


def test_the_first_sound_version_becomes_champion():
    verdict = decide(evaluation(99.0), None)
    assert (verdict.register, verdict.promote) == (True, True)
    assert any("first version" in reason for reason in verdict.reasons)


def test_samples_that_are_not_finite_are_refused():
    verdict = decide(evaluation(finite=False), None)
    assert (verdict.register, verdict.promote) == (False, False)
    assert "not finite" in verdict.reasons[0]


@pytest.mark.parametrize("diversity", [0.0, 0.049, float("nan")])
def test_samples_that_hardly_differ_are_refused(diversity):
    verdict = decide(evaluation(diversity=diversity), None)
    assert (verdict.register, verdict.promote) == (False, False)
    assert "differ" in verdict.reasons[0]


def test_a_collapsed_version_is_refused_even_if_its_figure_is_better():
    assert not decide(evaluation(0.1, diversity=0.0), evaluation(0.5)).register


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "wins"),
    [
        (0.4, 0.5, "lower", True),
        (0.6, 0.5, "lower", False),
        (0.5, 0.5, "lower", False),
        (0.6, 0.5, "higher", True),
        (0.4, 0.5, "higher", False),
    ],
)
def test_a_version_is_promoted_only_if_it_beats_the_champion(ours, theirs, better, wins):
    verdict = decide(evaluation(ours, better=better), evaluation(theirs, better=better))
    assert verdict.register
    assert verdict.promote is wins
    assert f"{ours:.4g} against {theirs:.4g}" in verdict.reasons[-1]


@pytest.mark.parametrize(
    "change",
    [{"dataset_digest": "b" * 64}, {"protocol": "p-2"}, {"config": EvaluateConfig(seed=1)}],
)
def test_figures_of_other_clips_or_other_code_are_never_compared(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        decide(evaluation(), evaluation(**change))
