import numpy as np
import pytest
from made_runs import render

from vgan.evaluation.sliced import KINDS, describe, projections, sliced_wasserstein
from vgan.evaluation.spoil import CONTROLS


@pytest.fixture(scope="module")
def clips():
    return render(48)[0]


def exact(real_NQD, fake_NQD):
    """The same distance from all projections in float64: one-dimensional transport over mean distance."""
    distances = []
    for column in range(real_NQD.shape[2]):
        real, fake = (np.sort(some[:, :, column].ravel().astype(np.float64)) for some in (real_NQD, fake_NQD))
        ranks = 2 * np.arange(1, len(real) + 1) - len(real) - 1
        spread = 2 * (ranks * real).sum() / len(real) ** 2  # mean of |x - y| over all pairs
        distances.append(np.abs(real - fake).mean() / max(spread, 1))
    return np.mean(distances)


@pytest.mark.parametrize("damage", CONTROLS)
def test_the_counted_distance_is_the_exact_one_to_a_few_percent(clips, damage):
    spoilt = CONTROLS[damage](clips[24:], np.random.default_rng(0))
    real, fake = (projections(some, 1) for some in (clips[:24], spoilt))
    counted_real, counted_fake = (describe(some, 1) for some in (clips[:24], spoilt))
    for kind in KINDS:
        figure = sliced_wasserstein(counted_real[kind], counted_fake[kind])
        assert figure == pytest.approx(exact(real[kind], fake[kind]), rel=0.1)


def test_a_change_of_brightness_is_as_far_as_its_share_of_the_real_spread():
    """Flat clips: along each direction all that counts is the brightness, so the distance is known in advance."""
    grey = np.linspace(40, 160, 64).astype(np.uint8)
    real = np.broadcast_to(grey[:, None, None, None, None], (64, 2, 16, 16, 3))
    spread = np.abs(grey[:, None].astype(float) - grey).mean()
    figure = sliced_wasserstein(describe(real, 0)["frames"], describe(real + np.uint8(30), 0)["frames"])
    assert figure == pytest.approx(30 / spread, rel=0.05)


def test_equal_sets_are_at_nought_whatever_their_order(clips):
    seen = describe(clips[:8], 0)
    for kind in KINDS:
        assert sliced_wasserstein(seen[kind], seen[kind][::-1]) == 0


def test_counts_need_not_be_equal(clips):
    seen = describe(clips[:8], 0)["frames"]
    assert sliced_wasserstein(seen, np.concatenate([seen, seen, seen])) == pytest.approx(0, abs=1e-12)


def test_chunks_of_32_clips_join_to_what_one_call_gives(clips):
    whole, first, second = (describe(some, 5) for some in (clips[:40], clips[:32], clips[32:40]))
    for kind in KINDS:
        joined = np.concatenate([first[kind], second[kind]])
        assert (joined != whole[kind]).mean() < 1e-3  # a sum in another order may cross a threshold
    assert (describe(clips[:8], 6)["frames"] != whole["frames"][:8]).any()


@pytest.mark.parametrize(("label", "along", "across"), [(0, "xt", "yt"), (1, "yt", "xt")])
def test_a_slice_sees_motion_along_its_own_axis_turned_round_and_frames_do_not(clips, label, along, across):
    """Class 0 moves along x, class 1 along y; both sway a little across."""
    forward, backward = describe(clips[label::2], 0), describe(clips[label::2, ::-1], 0)
    figure = {kind: sliced_wasserstein(forward[kind], backward[kind]) for kind in KINDS}
    assert figure[along] > 1.5 * figure[across]
    assert figure[along] > 1.5 * figure["frames"]


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 18, 40), (16, 70, 64)])
def test_any_clip_is_described_in_bytes_by_at_least_128_directions(shape):
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape, 3)).astype(np.uint8)
    for seen in describe(noise, 0).values():
        assert seen.dtype == np.uint8
        assert seen.shape[0] == 2
        assert seen.shape[2] >= 128
        assert seen.max() <= 64
        assert (np.diff(seen.astype(int), axis=1) >= 0).all()


def test_real_clips_that_stand_still_do_not_blow_up_a_small_change():
    still = np.full((4, 4, 16, 16, 3), 90, np.uint8)
    waking = still.copy()
    waking[:, 2] += 1
    figure = sliced_wasserstein(describe(still, 0)["changes"], describe(waking, 0)["changes"])
    assert 0 < figure < 2
