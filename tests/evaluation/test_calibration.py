from dataclasses import replace

import numpy as np
import pytest
from made_runs import render

from vgan.evaluation import calibration
from vgan.evaluation.calibration import calibrate_probes, calibrated, count_draws, draw_halves, refer
from vgan.evaluation.evidence import matching_labels
from vgan.evaluation.probes import measure
from vgan.evaluation.suite import COMPARISONS, compare
from vgan.evaluation.views import Views


def points(num, seed, shift=0.0, dimensions=6):
    values = np.random.default_rng(seed).standard_normal((num, dimensions)) / np.sqrt(dimensions) + shift
    return Views({"clip": values, "motion": values})


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def calibrate(real, fake, controls, draws, names=("frechet", "motion", "precision")):
    """Those of `names` and what comes with them: the others take long and go the same way."""
    some = [comparison for comparison in COMPARISONS if comparison.figures[0].name in names]
    return calibration.calibrate(real, fake, refer(real, controls, draws, some), draws, some)


def halves(heldout, generated, draws, seed):
    """Of clips that all are videos of their own."""
    return draw_halves(np.arange(heldout), generated, draws, seed)


def test_floor_value_and_controls_are_all_taken_at_one_count():
    seen = []

    def measure_counts(real, fake, _seed):
        seen.append((len(real), len(fake)))
        return (0.0,)

    counted = [
        replace(comparison, figures=comparison.figures[:1], measure=measure_counts) for comparison in COMPARISONS
    ]
    real, fake = points(41, 0), points(200, 1)
    draws = halves(41, 200, 20, seed=0)
    reference = refer(real, {"moved": points(41, 2, shift=3)}, draws, counted)
    metrics = calibration.calibrate(real, fake, reference, draws, counted)
    assert set(seen) == {(20, 20)}
    assert {(m.real_clips, m.fake_clips) for m in metrics} == {(20, 20)}


def test_work_is_counted_as_it_is_told():
    draws, told = halves(16, 16, 30, seed=0), []
    real = Views({name: np.ones((16, 3)) for name in ("clip", "motion")})
    some = [replace(c, measure=lambda *_: (0.0,) * 4) for c in COMPARISONS if len(c.figures) == 4]
    some.append(replace(some[0], figures=tuple(replace(f, draws=10) for f in some[0].figures), control_draws=2))
    reference = refer(real, {"a": real, "b": real}, draws, some, told.append)
    assert len(told) == count_draws(30, 2, some)[0] == 30 + 2 * 20 + 10 + 2 * 2
    told.clear()
    calibration.calibrate(real, real, reference, draws, some, told.append)
    assert len(told) == count_draws(30, 2, some)[1] == 40


@pytest.mark.parametrize(("heldout", "generated", "n"), [(4, 16, 2), (101, 512, 50), (400, 30, 30), (9000, 9000, 1024)])
def test_a_side_has_at_most_half_of_the_held_out_clips(heldout, generated, n):
    draws = halves(heldout, generated, 3, seed=1)
    assert draws.count == n
    for draw in draws.each:
        assert len(set(draw.real) | set(draw.other_real)) == 2 * n
        assert len(set(draw.fake)) == n
        assert max(draw.fake) < generated


def test_the_clips_of_a_video_lie_in_one_half():
    """A floor of two clips of one video on either side is lower than any generator of other videos can reach."""
    videos = np.arange(90) % 12
    draws = draw_halves(videos, 100, 30, seed=0)
    assert draws.halves == "videos"
    assert draws.count >= 90 // 2 - 8
    for draw in draws.each:
        assert not set(videos[draw.real]) & set(videos[draw.other_real])
    assert len({frozenset(videos[draw.real]) for draw in draws.each}) > 10


@pytest.mark.parametrize("videos", [np.arange(80) % 7, np.r_[np.zeros(70), np.arange(1, 11)].astype(int)])
def test_too_few_videos_or_one_that_is_most_of_the_clips_are_halved_by_clip(videos):
    draws = draw_halves(videos, 100, 5, seed=0)
    assert (draws.halves, draws.count) == ("clips", 40)


def test_the_floor_between_videos_is_worse_than_between_their_clips():
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(20), 10)
    values = rng.standard_normal((20, 6))[videos] + rng.standard_normal((200, 6)) * 0.1
    real = Views({"clip": values})
    by_video, by_clip = (
        refer(real, {}, draw_halves(groups, 200, 20, 0), COMPARISONS[:1]).floors["frechet"].mean()
        for groups in (videos, np.arange(200))
    )
    assert by_video > 3 * by_clip


def test_a_challenger_and_a_champion_meet_the_same_real_halves():
    few, many = halves(40, 30, 20, seed=3), halves(40, 500, 20, seed=3)
    assert all((a.real == b.real).all() for a, b in zip(few.each, many.each, strict=True))
    real = points(60, 0)
    draws = halves(60, 60, 20, seed=0)
    one, other = (by_name(calibrate(real, points(60, s), {}, draws)) for s in (1, 2))
    assert len(one["frechet"].draws) == len(other["frechet"].draws) == 20
    paired = np.corrcoef(one["frechet"].draws, other["frechet"].draws)[0, 1]
    assert paired > 0.2  # the real half that they share moves both
    assert one["frechet"].value == pytest.approx(np.mean(one["frechet"].draws))


def test_the_score_is_0_at_the_floor_and_1_at_the_worst_control():
    assert calibrated(2.0, 2.0, {"noise": 6.0, "blurred": 3.0}, "lower") == 0
    assert calibrated(6.0, 2.0, {"noise": 6.0, "blurred": 3.0}, "lower") == 1
    assert calibrated(0.5, 1.0, {"copied": 0.0}, "higher") == 0.5
    assert calibrated(10.0, 2.0, {"noise": 6.0}, "lower") == 2
    assert calibrated(5.0, 2.0, {"noise": 1.0}, "lower") is None
    assert calibrated(5.0, 2.0, {}, "lower") is None


def test_equal_distributions_reach_the_floor_on_average():
    pairs = []
    for seed in range(8):
        real, fake = points(200, seed + 100), points(200, seed + 200)
        pairs.append(by_name(calibrate(real, fake, {}, halves(200, 200, 20, seed))))
    for name in ("frechet", "precision", "recall", "density", "coverage"):
        value, floor = (np.mean([getattr(pair[name], field) for pair in pairs]) for field in ("value", "floor"))
        assert value == pytest.approx(floor, rel=0.2)
    assert np.mean([pair["motion"].value for pair in pairs]) == pytest.approx(0, abs=0.002)


def test_other_distributions_lie_beyond_the_floor_with_their_whole_interval():
    other = by_name(calibrate(points(200, 0), points(200, 1, shift=0.7), {}, halves(200, 200, 20, seed=0)))
    assert other["frechet"].low > other["frechet"].floor
    assert other["motion"].low > other["motion"].floor
    assert other["coverage"].high < other["coverage"].floor


def test_the_interval_narrows_with_more_clips():
    def width(num):
        metric = by_name(calibrate(points(num, 0), points(num, 1), {}, halves(num, num, 60, seed=0)))["frechet"]
        return metric.high - metric.low

    assert width(400) < width(24)


def test_the_interval_covers_the_figure_of_whole_samples():
    """95 % intervals of the unbiased distance hold its true value in most of many repetitions."""
    motion = [comparison for comparison in COMPARISONS if comparison.view == "motion"]
    pairs = ((points(400, s), points(400, s + 500, shift=0.3)) for s in range(10))
    truth = np.mean([compare(real, fake, comparisons=motion)["motion"] for real, fake in pairs])
    hits = 0
    for seed in range(20):
        real, fake = points(60, seed + 1000), points(60, seed + 2000, shift=0.3)
        metric = by_name(calibrate(real, fake, {}, halves(60, 60, 40, seed=seed), ("motion",)))["motion"]
        hits += metric.low <= truth <= metric.high
    assert hits >= 16


def test_two_clips_a_side_are_enough_for_finite_figures():
    metrics = calibrate(points(4, 0), points(16, 1), {}, halves(4, 16, 20, seed=0))
    assert all(np.isfinite([m.value, m.low, m.high, m.floor]).all() for m in metrics)


def test_equal_seeds_give_equal_draws_and_others_do_not():
    one, same, other = (halves(30, 40, 5, seed) for seed in (0, 0, 1))
    assert all((a.real == b.real).all() and (a.fake == b.fake).all() for a, b in zip(one.each, same.each, strict=True))
    assert any((a.real != b.real).any() for a, b in zip(one.each, other.each, strict=True))


def test_the_kinds_covered_are_compared_at_one_count(shapes64):
    clips, labels = shapes64
    others, other_labels = render(64, seed=7)
    draws = halves(64, 64, 40, seed=0)
    fake, real = calibrate_probes(measure(clips), labels, measure(others), other_labels, draws)
    assert fake["cells"] == pytest.approx(real["cells"], abs=0.15)
    assert real["cells"] < 1  # a half does not hold all kinds of the other half
    assert fake["direction"] == real["direction"] == 1


def test_generated_labels_have_the_proportions_of_the_real_ones():
    assert np.bincount(matching_labels(np.array([0, 0, 0, 1]), 16)).tolist() == [12, 4]
    assert np.bincount(matching_labels(np.array([0, 1, 2]), 16)).sum() == 16
    assert np.bincount(matching_labels(np.array([2, 2]), 5), minlength=3).tolist() == [0, 0, 5]
