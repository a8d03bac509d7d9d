import numpy as np
import pytest

from vgan.evaluation import neighbours
from vgan.evaluation.neighbours import memorisation, nearest, nearest_neighbour_accuracy


def gaussian(num, dimensions, seed):
    return np.random.default_rng(seed).standard_normal((num, dimensions))


def test_the_accuracy_is_half_for_equal_distributions_and_one_for_sets_apart():
    values = [nearest_neighbour_accuracy(gaussian(60, 5, s), gaussian(60, 5, s + 1000)) for s in range(60)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert nearest_neighbour_accuracy(gaussian(60, 5, 0), gaussian(60, 5, 1) + 20) == 1


def test_the_accuracy_falls_to_nought_for_copies_of_the_real_clips():
    real = gaussian(60, 5, 0)
    assert nearest_neighbour_accuracy(real, real + 1e-6) == 0


def test_the_accuracy_is_the_count_over_pairs(monkeypatch):
    real, fake = gaussian(23, 3, 0), gaussian(23, 3, 1) + 0.7
    both, side = np.concatenate([real, fake]), [True] * 23 + [False] * 23
    right = 0
    for i, vector in enumerate(both):
        distances = [np.inf if i == j else np.linalg.norm(vector - other) for j, other in enumerate(both)]
        right += side[int(np.argmin(distances))] == side[i]
    assert nearest_neighbour_accuracy(real, fake) == right / 46
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 7)
    assert nearest_neighbour_accuracy(real, fake) == right / 46


def test_nearest_finds_the_training_vector_in_whichever_block_it_lies(monkeypatch):
    vectors, train = gaussian(11, 4, 0), gaussian(40, 4, 1)
    slow = np.linalg.norm(vectors[:, None] - train[None], axis=2)
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 4)
    monkeypatch.setattr(neighbours, "BLOCK_COLUMNS", 9)
    distance, index = nearest(vectors, train)
    np.testing.assert_array_equal(index, slow.argmin(1))
    np.testing.assert_allclose(distance, slow.min(1), rtol=1e-12)


def test_the_distance_to_a_copy_is_exactly_nought_even_far_from_the_origin():
    train = (gaussian(30, 8, 0) + 1e4).astype(np.float32)
    distance, index = nearest(train[[3, 17]], train)
    assert distance.tolist() == [0, 0]
    assert index.tolist() == [3, 17]


def test_memorisation_is_one_for_new_clips_and_falls_with_the_copies_distance():
    train, unseen = gaussian(200, 6, 0), nearest(gaussian(100, 6, 1), gaussian(200, 6, 0))[0]
    copies = [nearest(train[:100] + width * gaussian(100, 6, 2), train)[0] for width in (0, 0.1, 0.3)]
    figures = [memorisation(distance, unseen) for distance in copies]
    assert figures == sorted(figures)
    assert figures[0] == 0
    assert figures[-1] < 0.6
    assert memorisation(nearest(gaussian(100, 6, 3), train)[0], unseen) > 0.9


def test_memorisation_gives_no_credit_for_clips_that_are_far_from_everything():
    usual = np.full(9, 2.0)
    assert memorisation(usual * 50, usual) == 1
    assert memorisation(usual / 4, usual) == 0.25


def test_memorisation_tells_nothing_where_real_clips_lie_on_training_clips():
    assert memorisation(np.zeros(4), np.zeros(4)) == 1
