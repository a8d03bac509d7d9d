import numpy as np
import pytest

from vgan.evaluation import classifier
from vgan.evaluation.classifier import two_sample_accuracy


def gaussian(num, dimensions, seed):
    return np.random.default_rng(seed).standard_normal((num, dimensions))


def average(make, seeds=24):
    accuracies = []
    for seed in range(seeds):
        real, fake = make(seed)
        accuracies.append(two_sample_accuracy(real, fake, seed))
    return np.mean(accuracies)


@pytest.mark.parametrize("dimensions", [2, 30, 300])
def test_equal_distributions_are_told_apart_half_the_time(dimensions):
    def make(seed):
        return gaussian(60, dimensions, seed), gaussian(60, dimensions, seed + 1000)

    assert average(make) == pytest.approx(0.5, abs=0.045)  # three standard errors of 24 x 60 guesses


def test_sets_that_lie_apart_are_always_told():
    assert two_sample_accuracy(gaussian(40, 8, 0), gaussian(40, 8, 1) + 6, 0) == 1


def test_accuracy_grows_with_the_difference():
    def make(shift):
        return lambda seed: (gaussian(60, 5, seed), gaussian(60, 5, seed + 99) + shift)

    accuracies = [average(make(shift), 6) for shift in (0, 0.4, 1, 2)]
    assert accuracies == sorted(accuracies)


def test_a_difference_that_no_straight_line_tells_is_told():
    def ring(seed):
        vectors = gaussian(120, 2, seed)
        return 2.5 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    assert two_sample_accuracy(gaussian(120, 2, 0) * 0.5, ring(1), 0) > 0.95


def test_more_dimensions_than_clips_do_not_pass_for_indistinguishable():
    """A classifier that learns its examples by heart would fail on the others and so praise a bad generator."""
    assert average(lambda s: (gaussian(60, 600, s), gaussian(60, 600, s + 1000) + 0.2), 6) > 0.85


def test_the_smaller_side_sets_the_count_so_that_guessing_gives_half():
    assert average(lambda s: (gaussian(300, 3, s), gaussian(40, 3, s + 1000))) == pytest.approx(0.5, abs=0.06)


def test_the_leave_one_out_error_is_that_of_training_again_without_each():
    vectors, side = gaussian(9, 3, 0), np.where(np.arange(9) % 2, 1.0, -1.0)
    kernel = np.exp(-((vectors[:, None] - vectors) ** 2).sum(2))
    errors = []
    for ridge in classifier.RIDGES:
        left_out = []
        for i in range(9):
            rest = np.arange(9) != i
            weight = np.linalg.solve(kernel[np.ix_(rest, rest)] + ridge * 9 * np.eye(8), side[rest])
            left_out.append(side[i] - kernel[i, rest] @ weight)
        errors.append(np.mean(np.square(left_out)))
    error, weight = classifier._ridge(kernel, side)
    best = classifier.RIDGES[int(np.argmin(errors))]
    assert error == pytest.approx(min(errors), rel=1e-9)
    np.testing.assert_allclose((kernel + best * 9 * np.eye(9)) @ weight, side, rtol=1e-9)


def test_the_same_seed_gives_the_same_figure_and_others_other_halves():
    real, fake = gaussian(50, 4, 0), gaussian(50, 4, 1) + 0.3
    figures = [two_sample_accuracy(real, fake, seed) for seed in (0, 0, 1, 2, 3)]
    assert figures[0] == figures[1]
    assert len(set(figures)) > 1


def test_clips_that_are_all_equal_are_a_guess_or_told():
    same = np.ones((10, 4), np.float32)
    assert two_sample_accuracy(same, same, 0) == 0.5
    assert two_sample_accuracy(gaussian(10, 4, 0) * 0.1, same * 5, 0) == 1


def test_a_single_clip_is_refused():
    with pytest.raises(ValueError, match="2 vectors or more"):
        two_sample_accuracy(gaussian(5, 2, 0), gaussian(1, 2, 0), 0)
