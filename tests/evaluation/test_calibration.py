import numpy as np
import pytest
from made_runs import render

from vgan.evaluation.calibration import Points, calibrate, calibrate_probes, compare, draw_halves, side_count
from vgan.evaluation.evidence import matching_labels
from vgan.evaluation.probes import measure


def points(num, seed, shift=0.0, dimensions=6):
    values = np.random.default_rng(seed).standard_normal((num, dimensions)) / np.sqrt(dimensions) + shift
    return Points(values, values)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def test_floor_value_and_controls_are_all_taken_at_one_count(monkeypatch):
    seen = []

    def record(real, fake):
        seen.append((len(real), len(fake)))
        return compare(real, fake)

    monkeypatch.setattr("vgan.evaluation.calibration.compare", record)
    real, fake = points(41, 0), points(200, 1)
    draws = draw_halves(41, 200, 20, seed=0)
    metrics = calibrate(real, fake, {"moved": points(41, 2, shift=3)}, draws)
    assert set(seen) == {(20, 20)}
    assert {(m.real_clips, m.fake_clips) for m in metrics} == {(20, 20)}


@pytest.mark.parametrize(("heldout", "generated", "n"), [(4, 16, 2), (101, 512, 50), (400, 30, 30), (9000, 9000, 1024)])
def test_a_side_has_at_most_half_of_the_held_out_clips(heldout, generated, n):
    assert side_count(heldout, generated) == n
    for draw in draw_halves(heldout, generated, 3, seed=1):
        assert len(set(draw.real) | set(draw.other_real)) == 2 * n
        assert len(set(draw.fake)) == n
        assert max(draw.fake) < generated


def test_equal_distributions_reach_the_floor_on_average():
    pairs = []
    for seed in range(8):
        real, fake = points(200, seed + 100), points(200, seed + 200)
        pairs.append(by_name(calibrate(real, fake, {}, draw_halves(200, 200, 20, seed))))
    for name in ("frechet", "precision", "recall", "density", "coverage"):
        value, floor = (np.mean([getattr(pair[name], field) for pair in pairs]) for field in ("value", "floor"))
        assert value == pytest.approx(floor, rel=0.2)
    assert np.mean([pair["motion"].value for pair in pairs]) == pytest.approx(0, abs=0.002)


def test_other_distributions_lie_beyond_the_floor_with_their_whole_interval():
    other = by_name(calibrate(points(200, 0), points(200, 1, shift=0.7), {}, draw_halves(200, 200, 20, seed=0)))
    assert other["frechet"].low > other["frechet"].floor
    assert other["motion"].low > other["motion"].floor
    assert other["coverage"].high < other["coverage"].floor


def test_the_interval_narrows_with_more_clips():
    def width(num):
        metric = by_name(calibrate(points(num, 0), points(num, 1), {}, draw_halves(num, num, 60, seed=0)))["frechet"]
        return metric.high - metric.low

    assert width(400) < width(24)


def test_the_interval_covers_the_figure_of_whole_samples():
    """95 % intervals of the unbiased distance hold its true value in most of many repetitions."""
    truth = np.mean([compare(points(400, s), points(400, s + 500, shift=0.3))["motion"] for s in range(10)])
    hits = 0
    for seed in range(20):
        real, fake = points(60, seed + 1000), points(60, seed + 2000, shift=0.3)
        metric = by_name(calibrate(real, fake, {}, draw_halves(60, 60, 40, seed=seed)))["motion"]
        hits += metric.low <= truth <= metric.high
    assert hits >= 16


def test_two_clips_a_side_are_enough_for_finite_figures():
    metrics = calibrate(points(4, 0), points(16, 1), {}, draw_halves(4, 16, 20, seed=0))
    assert all(np.isfinite([m.value, m.low, m.high, m.floor]).all() for m in metrics)


def test_equal_seeds_give_equal_draws_and_others_do_not():
    one, same, other = (draw_halves(30, 40, 5, seed) for seed in (0, 0, 1))
    assert all((a.real == b.real).all() and (a.fake == b.fake).all() for a, b in zip(one, same, strict=True))
    assert any((a.real != b.real).any() for a, b in zip(one, other, strict=True))


def test_the_kinds_covered_are_compared_at_one_count(shapes64):
    clips, labels = shapes64
    others, other_labels = render(64, seed=7)
    draws = draw_halves(64, 64, 40, seed=0)
    fake, real = calibrate_probes(measure(clips), labels, measure(others), other_labels, draws)
    assert fake["cells"] == pytest.approx(real["cells"], abs=0.15)
    assert real["cells"] < 1  # a half does not hold all kinds of the other half
    assert fake["direction"] == real["direction"] == 1


def test_generated_labels_have_the_proportions_of_the_real_ones():
    assert np.bincount(matching_labels(np.array([0, 0, 0, 1]), 16)).tolist() == [12, 4]
    assert np.bincount(matching_labels(np.array([0, 1, 2]), 16)).sum() == 16
    assert np.bincount(matching_labels(np.array([2, 2]), 5), minlength=3).tolist() == [0, 0, 5]
