import numpy as np
import pytest
from made_runs import render

from vgan.evaluation.temporal import BINS, describe, flicker_gap, motion_direction_gap, motion_size_gap

STEPS = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]  # (x, y), y downwards, by bin


def flat(levels, size=16):
    """A clip of flat grey frames of these levels."""
    frames = np.asarray(levels, np.uint8)[:, None, None, None]
    return np.broadcast_to(frames, (len(levels), size, size, 3))[None].copy()


def moving(step, pixels, size=32, frames=6):
    """A soft dot that moves so many pixels a frame through the middle."""
    middle = size / 2 + (np.arange(frames) - (frames - 1) / 2)[:, None] * pixels * np.array(step) / np.hypot(*step)
    y, x = np.mgrid[:size, :size]
    square = (x - middle[:, :1, None]) ** 2 + (y - middle[:, 1:, None]) ** 2
    grey = 200 * np.exp(-square / (2 * (size / 12) ** 2))
    return np.repeat(np.rint(grey).astype(np.uint8)[None, ..., None], 3, axis=-1)


def directions(clip):
    return describe(clip)[0, 2:]


@pytest.mark.parametrize("pixels", [0.7, 2, 4])
@pytest.mark.parametrize("number", range(BINS))
def test_motion_falls_into_the_bin_of_its_direction(number, pixels):
    shares = directions(moving(STEPS[number], pixels))
    assert shares.argmax() == number
    assert shares[number] > 0.5
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(("size", "frames"), [(16, 4), (32, 8), (64, 16)])
def test_shapes_of_any_size_move_as_their_class_says(size, frames):
    clips, labels = render(16, frames=frames, size=size)
    shares = describe(clips)[:, 2:]
    left, up = shares[labels == 0], shares[labels == 1]
    assert left[:, [3, 4, 5]].sum(1).mean() > 0.85
    assert up[:, [5, 6, 7]].sum(1).mean() > 0.85


def test_noise_does_not_hide_the_direction():
    clip = moving((1, 0), 2)
    noisy = np.clip(clip + 15 * np.random.default_rng(0).standard_normal(clip.shape), 0, 255).astype(np.uint8)
    assert directions(noisy).argmax() == 0


def test_nothing_moves_in_a_still_clip():
    assert describe(np.repeat(moving((1, 0), 2)[:, :1], 5, axis=1))[0].tolist() == [0] * 10


def test_motion_size_is_the_mean_change_and_flicker_the_mean_second_difference():
    described = describe(np.concatenate([flat([10, 30, 30, 10]), flat([10, 20, 30, 40])]))
    np.testing.assert_allclose(described[:, 0], [40 / 3, 10], rtol=1e-6)
    np.testing.assert_allclose(described[:, 1], [20, 0], atol=1e-9)


def test_two_frames_do_not_flicker():
    assert describe(flat([10, 90]))[0, 1] == 0


def test_many_clips_are_described_as_each_alone():
    clips, _ = render(70, frames=3, size=16)
    np.testing.assert_allclose(describe(clips)[[0, 65]], np.concatenate([describe(clips[[i]]) for i in (0, 65)]), 1e-5)


def test_gaps_between_equal_sets_are_nought():
    described = describe(render(12, frames=4, size=16)[0])
    for gap in (motion_size_gap, motion_direction_gap, flicker_gap):
        assert gap(described, described[::-1]) == pytest.approx(0, abs=1e-9)


def test_each_gap_is_in_its_own_unit():
    real = np.zeros((4, 10))
    real[:, 0], real[:, 1], real[:, 2] = 5, 1, 1  # all move to the right
    fake = real.copy()
    fake[:, 0], fake[:, 1] = 7.5, 4
    fake[0, 2:] = np.eye(8)[4]  # one goes left
    assert motion_size_gap(real, fake) == pytest.approx(2.5)
    assert flicker_gap(real, fake) == pytest.approx(3)
    assert motion_direction_gap(real, fake) == pytest.approx(0.25)  # total variation of 1 in 4
    fake[1, 2:] = 0  # one stands still
    assert motion_direction_gap(real, fake) == pytest.approx(0.5)


def test_clips_that_each_go_every_way_are_not_those_that_each_go_one():
    each_one_way = np.concatenate([np.zeros((8, 2)), np.eye(8)], axis=1)
    every_way = np.concatenate([np.zeros((8, 2)), np.full((8, 8), 1 / 8)], axis=1)
    assert motion_direction_gap(each_one_way, every_way) > 0.5


def test_flicker_sees_brightness_that_comes_and_goes():
    clips, _ = render(24, size=16)
    gain = 1 - 0.3 * np.random.default_rng(0).random((12, 8, 1, 1, 1))
    real, steady, unsteady = (describe(some) for some in (clips[:12], clips[12:], (clips[12:] * gain).astype(np.uint8)))
    assert flicker_gap(real, unsteady) > 10 * flicker_gap(real, steady)
