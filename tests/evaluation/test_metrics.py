import numpy as np
import pytest

from vgan.evaluation.features import embed
from vgan.evaluation.metrics import (
    frechet,
    kernel_distance,
    neighbour_count,
    neighbourhoods,
    polynomial_distance,
    spread,
    transport,
)
from vgan.evaluation.space import Space
from vgan.evaluation.spoil import CONTROLS
from vgan.evaluation.suite import FIGURES, compare
from vgan.evaluation.views import Views, embedding_views


def gaussian(num, dimensions, seed):
    return np.random.default_rng(seed).standard_normal((num, dimensions))


def exact_sample(num, mean, covariance, seed=0):
    """A sample whose mean and covariance (divided by N) are exactly these."""
    white = gaussian(num, len(mean), seed)
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(white.T @ white / num)).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_is_the_closed_form_for_commuting_covariances():
    left, right = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 0.25])
    a, b = exact_sample(500, np.zeros(3), left), exact_sample(400, np.array([1.0, 2.0, 0.0]), right, seed=1)
    # |m|^2 + sum (s1 - s2)^2
    assert frechet(a, b) == pytest.approx(5 + 1 + 1 + 2.5**2, rel=1e-9)


def test_frechet_is_the_closed_form_for_covariances_that_do_not_commute():
    left, right = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])
    product = left @ right  # 2 x 2: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M))
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    a, b = exact_sample(300, np.zeros(2), left), exact_sample(300, np.zeros(2), right, seed=3)
    assert frechet(a, b) == pytest.approx(4 + 4 - 2 * cross, rel=1e-9)


def test_frechet_is_finite_and_small_between_equal_sets_smaller_than_their_dimension():
    few = gaussian(5, 64, 0)
    assert frechet(few, few) == pytest.approx(0, abs=1e-5)
    assert np.isfinite(frechet(few, gaussian(3, 64, 1)))


def test_frechet_is_symmetric():
    a, b = gaussian(40, 8, 0), gaussian(50, 8, 1) * 2
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_the_kernel_distance_is_unbiased():
    scale = 0.25
    values = [kernel_distance(gaussian(12, 4, s) * scale, gaussian(12, 4, s + 1000) * scale) for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0  # as an unbiased estimate of zero must


def test_the_kernel_distance_grows_with_the_shift():
    real = gaussian(100, 4, 0) * 0.5
    distances = [kernel_distance(real, gaussian(100, 4, 1) * 0.5 + shift) for shift in (0, 0.5, 1, 3)]
    assert distances == sorted(distances)
    assert distances[-1] <= 2


def test_the_polynomial_distance_is_the_sum_over_pairs():
    """Against the definition, written out: Gretton et al. 2012, equation 3, with a loop over pairs."""
    real, fake = gaussian(7, 3, 0), gaussian(5, 3, 1) + 0.5

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / 3 + 1) ** 3

    def inside(some):
        return np.mean([kernel(x, y) for i, x in enumerate(some) for j, y in enumerate(some) if i != j])

    across = np.mean([kernel(x, y) for x in real for y in fake])
    assert polynomial_distance(real, fake) == pytest.approx(inside(real) + inside(fake) - 2 * across, rel=1e-9)
    single = polynomial_distance(real.astype(np.float32), fake.astype(np.float32))
    assert single == pytest.approx(polynomial_distance(real, fake), rel=1e-5)


def test_the_polynomial_distance_is_unbiased_and_grows_with_the_shift():
    values = [polynomial_distance(gaussian(12, 4, s), gaussian(12, 4, s + 1000)) for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0
    far = [polynomial_distance(gaussian(100, 4, 0), gaussian(100, 4, 1) + shift) for shift in (0, 0.5, 1, 3)]
    assert far == sorted(far)


def test_transport_of_a_shift_is_the_shift_and_each_column_stands_alone():
    real = gaussian(50, 3, 0)
    np.testing.assert_allclose(transport(real, real[::-1] + np.array([0.0, 2.0, -0.5])), [0, 2, 0.5], atol=1e-12)


def test_transport_at_unequal_counts_is_that_of_the_sets_repeated_to_equal_ones():
    real, fake = gaussian(6, 2, 0), gaussian(4, 2, 1) * 2
    equal = transport(np.repeat(real, 2, axis=0), np.repeat(fake, 3, axis=0))
    np.testing.assert_allclose(transport(real, fake), equal, rtol=1e-12)
    np.testing.assert_allclose(transport(fake, real), equal, rtol=1e-12)


@pytest.mark.e2e
def test_neighbourhoods_reproduce_the_published_figures():
    """README of the authors' prdc package: N(0, I) in 1,000 dimensions, 10,000 of each, k = 5."""
    rng = np.random.default_rng(2)
    real, fake = (rng.standard_normal((10_000, 1000), dtype=np.float32) for _ in range(2))
    figures = neighbourhoods(real, fake, 5)
    assert figures.precision == pytest.approx(0.4772, abs=0.025)
    assert figures.recall == pytest.approx(0.4705, abs=0.025)
    assert figures.density == pytest.approx(1.0555, abs=0.05)
    assert figures.coverage == pytest.approx(0.9735, abs=0.01)


def test_neighbourhoods_of_a_case_worked_by_hand():
    real = np.array([[0.0], [1.0], [3.0]])  # k = 1: radii 1, 1, 2
    fake = np.array([[0.5], [10.0]])  # radii 9.5, 9.5
    figures = neighbourhoods(real, fake, 1)
    assert figures.precision == 0.5  # 0.5 lies in the first two balls, 10 in none
    assert figures.density == 1.0  # two hits over two clips
    assert figures.recall == 1.0  # 0.5 is less than 9.5 from all
    assert figures.coverage == pytest.approx(2 / 3)  # nothing lies nearer to 3 than 2


def test_fewer_clips_have_fewer_neighbours():
    assert [neighbour_count(n) for n in (2, 8, 12, 20, 5000)] == [1, 2, 3, 5, 5]


def test_spread_is_zero_for_equal_clips_and_per_label():
    same = np.repeat(gaussian(1, 6, 0), 10, axis=0)
    assert spread(same, np.zeros(10, np.int64)) == 0
    two_points = np.repeat(gaussian(2, 6, 0), 5, axis=0)
    assert spread(two_points, np.repeat([0, 1], 5)) == 0  # one clip for each label is a collapse
    assert spread(two_points, np.zeros(10, np.int64)) > 0


@pytest.fixture(scope="module")
def halves(shapes64):
    clips, labels = shapes64
    space = Space.fit(embed(clips), 2)

    def points(some, their_labels):
        return space.place(Views(embedding_views(some)), their_labels, np.zeros((1, 64)))

    return clips, labels, points


BETTER = {figure.name: figure.better for figure in FIGURES}
CLAIMS = [
    *[("frechet", damage) for damage in CONTROLS],
    *[("motion", damage) for damage in CONTROLS],
    *[("density", damage) for damage in CONTROLS],
    *[("coverage", damage) for damage in CONTROLS],
    ("precision", "noise"),
    ("recall", "frozen"),
    ("recall", "noise"),
]


@pytest.mark.parametrize(("metric", "damage"), CLAIMS)
def test_a_metric_gets_worse_under_what_it_claims_to_see(halves, metric, damage):
    clips, labels, points = halves
    even, odd = np.arange(64) % 4 < 2, np.arange(64) % 4 >= 2
    spoilt = CONTROLS[damage](clips[odd], np.random.default_rng(0))
    real = points(clips[even], labels[even])
    floor = compare(real, points(clips[odd], labels[odd]))[metric]
    figure = compare(real, points(spoilt, labels[odd]))[metric]
    assert figure > floor if BETTER[metric] == "lower" else figure < floor


def test_the_joint_distance_sees_clips_under_the_wrong_label(halves):
    clips, labels, points = halves
    even, odd = np.arange(64) % 4 < 2, np.arange(64) % 4 >= 2
    real = points(clips[even], labels[even])
    right = compare(real, points(clips[odd], labels[odd]))
    wrong = compare(real, points(clips[odd], 1 - labels[odd]))
    assert wrong["frechet"] > right["frechet"]
    assert wrong["density"] < right["density"]


def test_the_motion_distance_sees_reversed_time(halves):
    clips, labels, points = halves
    even, odd = np.arange(64) % 4 < 2, np.arange(64) % 4 >= 2
    real = points(clips[even], labels[even])
    forward = compare(real, points(clips[odd], labels[odd]))["motion"]
    backward = compare(real, points(np.ascontiguousarray(clips[odd][:, ::-1]), labels[odd]))["motion"]
    assert backward > forward + 0.01
