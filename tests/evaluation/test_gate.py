"""Promises of the gate: only a better model that is no worse elsewhere is promoted, and none that is not sound."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from vgan.config import EvaluateConfig
from vgan.evaluation.gate import decide
from vgan.evaluation.metrics import frechet
from vgan.records import Check, Evaluation, Metric

NAN, INF = float("nan"), float("inf")


def metric(name: str, value: float, noise: tuple[float, ...] = (0.0,) * 5, **changes: Any) -> Metric:
    """A figure whose draws are its value with `noise` added; real clips reach .1, the worst control 1.1."""
    better: Literal["lower", "higher"] = changes.pop("better", "lower")
    floor, worst = (0.1, 1.1) if better == "lower" else (0.9, -0.1)
    fields = {
        "value": value, "low": value, "high": value, "floor": floor, "controls": {"frozen": worst}, "score": 0.2,
        "draws": tuple(value + n for n in noise), "real_clips": 50, "fake_clips": 50,
    }  # fmt: skip
    return Metric(name=name, better=better, **{**fields, **changes})


def evaluation(frechet: float | Metric = 0.5, *others: Metric, **changes: Any) -> Evaluation:
    primary = frechet if isinstance(frechet, Metric) else metric("frechet", frechet)
    fields = {
        "run": "r", "weights_sha256": "0" * 64, "dataset": "d", "dataset_digest": "a" * 64,
        "config": EvaluateConfig(), "protocol": "p-1", "heldout_clips": 100, "generated_clips": 512,
        "metrics": (primary, *others), "probes": {}, "probes_real": {}, "finite": True, "diversity": 0.9,
        "primary": "frechet", "guards": tuple(other.name for other in others),
    }  # fmt: skip
    return Evaluation(**{**fields, **changes})


def check(verdict: Any, name: str) -> Check:
    return next(c for c in verdict.checks if c.name == name)


def memorisation(value: float, copied: float = 0.0) -> Metric:
    return metric("memorisation", value, better="higher", floor=1.0, controls={"copied": copied})


def test_the_first_sound_version_becomes_champion() -> None:
    verdict = decide(evaluation(99.0), None)
    assert (verdict.outcome, verdict.register, verdict.promote, verdict.rival) == ("promoted", True, True, None)
    assert any("first version" in reason for reason in verdict.reasons)


def test_samples_that_are_not_finite_are_refused_and_no_force_helps() -> None:
    for force in (False, True):
        verdict = decide(evaluation(finite=False), None, force=force)
        assert verdict.outcome == "refused"
        assert "not finite" in verdict.reasons[0]


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("field", ["value", "low", "high", "floor", "controls", "score", "draws"])
def test_a_figure_that_is_not_finite_never_passes(field: str, bad: float) -> None:
    """FAULTS 14: NaN or infinite figures never pass."""
    wrong = {"controls": {"frozen": bad}, "draws": (0.0, bad)}.get(field, bad)
    for force in (False, True):
        recall = metric("recall", 0.5, better="higher").model_copy(update={field: wrong})
        verdict = decide(evaluation(0.1, recall), None, force=force)
        assert verdict.outcome == "refused"
        assert "recall" in check(verdict, "finite").said


@pytest.mark.parametrize("diversity", [0.0, 0.049, NAN])
def test_samples_that_hardly_differ_are_refused(diversity: float) -> None:
    """FAULTS 14: a collapsed model is not registered, and the verdict says why."""
    verdict = decide(evaluation(diversity=diversity), None)
    assert verdict.outcome == "refused"
    assert "differ" in check(verdict, "variety").said
    assert not decide(evaluation(0.1, diversity=diversity), evaluation(0.5)).register


@pytest.mark.parametrize(
    ("value", "copied", "passes"), [(0.49, 0.0, False), (0.51, 0.0, True), (0.59, 0.2, False), (0.61, 0.2, True)]
)
def test_samples_nearer_to_copies_than_to_held_out_clips_are_refused(value: float, copied: float, passes: bool) -> None:
    verdict = decide(evaluation(0.1, memorisation(value, copied)), None)
    assert verdict.outcome == ("promoted" if passes else "refused")
    assert check(verdict, "memorisation").figures["needed"] == (1 + copied) / 2


def test_copies_that_cannot_be_told_from_held_out_clips_refuse_nobody_and_that_is_said() -> None:
    verdict = decide(evaluation(0.1, memorisation(0.1, copied=1.0)), None)
    assert verdict.promote
    assert "nothing is said of copying" in check(verdict, "memorisation").said


def test_a_guard_against_copies_without_its_figure_never_passes() -> None:
    assert decide(evaluation(guards=("memorisation",)), None).outcome == "refused"


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
def test_a_version_is_promoted_only_if_it_beats_the_champion(
    ours: float, theirs: float, better: str, wins: bool
) -> None:
    verdict = decide(
        evaluation(metric("frechet", ours, better=better)), evaluation(metric("frechet", theirs, better=better))
    )
    assert verdict.outcome == ("promoted" if wins else "registered")
    assert f"{ours:.4g} against {theirs:.4g}" in check(verdict, "frechet").said


def test_what_decides_is_the_interval_of_the_paired_differences_not_those_of_the_figures() -> None:
    noise = tuple(np.linspace(-0.3, 0.3, 41))
    champion = evaluation(metric("frechet", 0.50, noise))
    paired = decide(evaluation(metric("frechet", 0.48, noise)), champion)
    assert paired.promote, "the same halves were hard for both"
    assert check(paired, "frechet").figures["gain_low"] == pytest.approx(0.02)
    unpaired = decide(evaluation(metric("frechet", 0.48, noise[::-1])), champion)
    assert unpaired.outcome == "registered"
    figures = check(unpaired, "frechet").figures
    assert figures["gain"] == pytest.approx(0.02)
    assert figures["gain_low"] < 0 < figures["gain_high"]
    assert "not surely" in check(unpaired, "frechet").said


@pytest.mark.parametrize(("drop", "passes"), [(0.04, True), (0.06, False)])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_guard_may_be_worse_by_the_tolerance_and_no_more(drop: float, passes: bool, better: str) -> None:
    worse = 0.5 + drop if better == "lower" else 0.5 - drop
    verdict = decide(
        evaluation(0.1, metric("recall", worse, better=better)), evaluation(0.5, metric("recall", 0.5, better=better))
    )
    assert verdict.outcome == ("promoted" if passes else "registered")
    assert check(verdict, "recall").figures["loss"] == pytest.approx(drop)


def test_the_tolerance_is_the_users() -> None:
    pair = evaluation(0.1, metric("motion", 0.7)), evaluation(0.5, metric("motion", 0.5))
    assert not decide(*pair, tolerance=0.19).promote
    assert decide(*pair, tolerance=0.21).promote


def test_a_guard_that_is_worse_within_its_noise_stops_nobody() -> None:
    noise = tuple(np.linspace(-0.3, 0.3, 41))
    pair = evaluation(0.1, metric("motion", 0.6, noise)), evaluation(0.5, metric("motion", 0.5, noise[::-1]))
    assert decide(*pair).promote


def test_a_guard_without_a_worse_control_is_measured_by_its_floor() -> None:
    blind = {"controls": {"frozen": 0.1}, "score": None}
    champion = evaluation(0.5, metric("motion", 0.5, **blind))
    assert decide(evaluation(0.1, metric("motion", 0.504, **blind)), champion).promote
    loss = decide(evaluation(0.1, metric("motion", 0.51, **blind)), champion)
    assert not loss.promote
    assert check(loss, "motion").figures["loss"] == pytest.approx(0.1)


def test_a_champion_is_not_protected_for_what_it_has_beyond_real_clips() -> None:
    """Noise is far from every training clip, and a model that comes nearer is no worse for it."""
    champion = evaluation(0.5, memorisation(3.0))
    assert decide(evaluation(0.1, memorisation(1.0)), champion).promote
    assert not decide(evaluation(0.1, memorisation(0.9)), champion).promote


@pytest.mark.parametrize(("clips", "passes"), [(15, False), (16, True)])
def test_too_few_clips_dethrone_no_champion(clips: int, passes: bool) -> None:
    few = metric("frechet", 0.1, real_clips=clips)
    assert decide(evaluation(few), evaluation(metric("frechet", 0.5, real_clips=clips))).promote is passes
    assert decide(evaluation(few), None).promote


def test_force_promotes_against_the_gate_and_says_so() -> None:
    verdict = decide(evaluation(0.6, diversity=0.0), evaluation(0.5), force=True)
    assert (verdict.outcome, verdict.promote) == ("forced", True)
    assert "by force" in verdict.reasons[0]
    assert "variety, frechet" in verdict.reasons[0]
    assert decide(evaluation(0.4), evaluation(0.5), force=True).outcome == "promoted"


def test_a_champion_that_cannot_be_compared_keeps_the_alias_unless_forced() -> None:
    lost = Check(name="comparable", passed=False, said="It makes other clips.")
    assert decide(evaluation(0.1), lost).outcome == "registered"
    assert decide(evaluation(0.1), lost, force=True).outcome == "forced"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dataset_digest": "b" * 64}, "other clips"),
        ({"protocol": "p-2"}, "other protocols"),
        ({"config": EvaluateConfig(seed=1)}, "seed"),
        ({"primary": "kernel", "metrics": (metric("kernel", 0.5),)}, "primary"),
        ({"heldout_clips": 99}, "heldout_clips"),
        ({"metrics": (metric("frechet", 0.5, (0.0,) * 6),)}, "draws"),
    ],
)
def test_figures_of_other_clips_or_other_code_are_never_compared(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        decide(evaluation(), evaluation(**change))


def test_a_verdict_is_kept_as_json_whatever_its_figures_are() -> None:
    verdict = decide(evaluation(diversity=NAN), None)
    assert type(verdict).from_json(verdict.to_json(), "here") == verdict


def test_equal_models_are_seldom_promoted_and_better_ones_are() -> None:
    """The interval on a real distance, between sets of points: the error that the module's docstring states."""
    rng = np.random.default_rng(0)

    def promoted(shift: float) -> bool:
        real, one, other = (rng.normal(size=(128, 3)) for _ in range(3))
        halves = [(rng.permutation(128)[:64], rng.permutation(128)[:64]) for _ in range(24)]
        figures = [[frechet(real[a], fake[b]) for a, b in halves] for fake in (one + 0.5, other + 0.5 - shift)]
        champion, challenger = (evaluation(metric("frechet", float(np.mean(f)), draws=tuple(f))) for f in figures)
        return decide(challenger, champion).promote

    assert sum(promoted(0.0) for _ in range(20)) <= 3
    assert sum(promoted(0.3) for _ in range(4)) >= 3
