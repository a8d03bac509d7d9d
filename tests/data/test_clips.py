import numpy as np
import pytest

from vgan.config import IngestConfig
from vgan.data.clips import Timeline, clip_of, clip_statistics, cut_windows, why_no_clip


def timeline(levels, *, holes=()):
    """Frames of one grey level each, 8 per second; cells named in `holes` show nothing."""
    line = Timeline()
    for cell, level in enumerate(levels):
        if cell not in holes:
            line.add(cell, cell / 8, np.full((4, 4, 3), level, np.uint8))
    return line


def config(frames=8, stride=1.0, fps=8.0):
    return IngestConfig(frames=frames, stride=stride, fps=fps)


def test_one_window_a_stride():
    cutting = cut_windows(timeline([100] * 32), config())
    assert [(window.first, window.seconds) for window in cutting.windows] == [(0, 0), (8, 1), (16, 2), (24, 3)]
    assert cutting.cut == 0
    overlapping = cut_windows(timeline([100] * 32), config(frames=16))
    assert [window.first for window in overlapping.windows] == [0, 8, 16]


def test_strides_that_are_no_whole_frames_do_not_drift():
    firsts = [window.first for window in cut_windows(timeline([9] * 80), config(stride=0.3)).windows]
    assert firsts == [round(2.4 * number) for number in range(31)]
    everything = cut_windows(timeline([9] * 20), config(stride=0.01)).windows
    assert [window.first for window in everything] == list(range(13)), "never the same clip twice"


def test_no_clip_goes_across_a_scene_cut_or_a_hole():
    cut = 13
    cutting = cut_windows(timeline([20] * cut + [200] * 27), config())
    assert [window.first for window in cutting.windows] == [0, 13, 21, 29]
    assert [window.scene for window in cutting.windows] == [0, 1, 1, 1]
    assert cutting.cut == 1, "the window at 8"
    hole = cut_windows(timeline([20] * 40, holes={13}), config())
    assert [window.seconds for window in hole.windows] == [0, 14 / 8, 22 / 8, 30 / 8]


def test_steady_fast_motion_is_no_cut():
    flicker = [0, 60] * 16
    assert len(cut_windows(timeline(flicker), config()).windows) >= 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (timeline([1] * 7), "too_short"),
        (timeline([1] * 40, holes=set(range(1, 40, 2))), "low_fps"),
        (timeline(([0] * 5 + [255] * 5) * 4), "all_cut"),
        (Timeline(), "too_short"),
    ],
)
def test_a_video_without_clips_says_why(line, reason):
    assert not cut_windows(line, config()).windows
    code, detail = why_no_clip(line, config())
    assert code == reason
    assert "1.00 s" in detail or "8 frames at 8 per second" in detail


def test_a_clip_is_its_frames_with_colour_first():
    frames_NHWC = np.random.default_rng(0).integers(0, 256, (20, 4, 6, 3), np.uint8)
    window = cut_windows(timeline([9] * 20), config()).windows[1]
    clip_CTHW = clip_of(frames_NHWC, window, 8)
    assert clip_CTHW.shape == (3, 8, 4, 6) and clip_CTHW.flags.c_contiguous
    assert np.array_equal(clip_CTHW[1, 2], frames_NHWC[10, :, :, 1])


def test_statistics_find_still_and_dark_clips():
    still = clip_statistics(np.full((3, 8, 4, 4), 7, np.uint8))
    assert still == {"brightness": 7.0, "contrast": 0.0, "motion": 0.0}
    moving = np.zeros((3, 2, 4, 4), np.uint8)
    moving[:, 1] = 255
    assert clip_statistics(moving) == {"brightness": 127.5, "contrast": 127.5, "motion": 255.0}
