import numpy as np
import pytest

from vgan.config import IngestConfig
from vgan.data.decoding.clips import Timeline, cut_windows, why_no_clip


def timeline(frames, *, holes=(), fps=8, block=5):
    """Frames given as grey levels or pictures [3, H, W]; cells named in `holes` show nothing."""
    line = Timeline()
    shown = [
        (cell, np.full((3, 4, 4), frame, np.uint8) if np.isscalar(frame) else frame)
        for cell, frame in enumerate(frames)
        if cell not in holes
    ]
    for start in range(0, len(shown), block):
        cells, pictures = zip(*shown[start : start + block], strict=True)
        line.extend(cells, [cell / fps for cell in cells], np.stack(pictures))
    return line


def config(frames=8, stride=1.0, fps=8.0, min_motion=0.0, **more):
    return IngestConfig(frames=frames, stride=stride, fps=fps, min_motion=min_motion, **more)


def textured(seed, steps, *, low=40, high=220, size=32, speed=1):
    """Pictures of the same colours that move by `speed` pixels a frame."""
    picture_CHW = np.random.default_rng(seed).integers(low, high, (3, size, size)).astype(np.uint8)
    return [np.roll(picture_CHW, speed * step, axis=2) for step in range(steps)]


def firsts(line, configuration):
    return [window.first for window in cut_windows(line, configuration).windows]


def test_one_window_a_stride():
    cutting = cut_windows(timeline([100] * 32), config())
    assert [(window.first, window.seconds) for window in cutting.windows] == [(0, 0), (8, 1), (16, 2), (24, 3)]
    assert cutting.left_out == {}
    overlapping = cut_windows(timeline([100] * 32), config(frames=16))
    assert [window.first for window in overlapping.windows] == [0, 8, 16]
    assert overlapping.left_out == {"short": 1}, "the rest at the end"


def test_strides_that_are_no_whole_frames_do_not_drift():
    assert firsts(timeline([99] * 80), config(stride=0.3)) == [round(2.4 * number) for number in range(31)]
    everything = firsts(timeline([99] * 20), config(stride=0.01))
    assert everything == list(range(13)), "never the same clip twice"


def test_no_clip_goes_across_a_scene_cut_or_a_hole():
    cutting = cut_windows(timeline([60] * 13 + [200] * 27), config())
    assert [window.first for window in cutting.windows] == [0, 13, 21, 29]
    assert [window.scene for window in cutting.windows] == [0, 1, 1, 1]
    assert cutting.left_out == {"cut": 1, "short": 1}, "the window at 8, and the rest at the end"
    hole = cut_windows(timeline([60] * 40, holes={13}), config())
    assert [window.seconds for window in hole.windows] == [0, 14 / 8, 22 / 8, 30 / 8]
    flash = cut_windows(timeline([60] * 10 + [250] * 3 + [60] * 10), config())
    assert [window.first for window in flash.windows] == [0, 13]
    assert flash.left_out == {"cut": 1, "short": 2}, "three bright frames are shorter than a clip"


def test_steady_fast_motion_is_no_cut():
    assert len(firsts(timeline([40, 100] * 16), config())) >= 3
    assert firsts(timeline(textured(1, 32, speed=5)), config()) == [0, 8, 16, 24]


def test_a_cut_that_fast_motion_hides_is_found_by_its_colours():
    # Each of these frames differs as much from the one before as the first of the new scene does.
    hidden = textured(1, 20, high=160, speed=5) + textured(2, 20, low=60, high=190, speed=0)
    line = timeline(hidden)
    assert abs(line.differences[20] - line.differences[19]) < 10, "what scdet would not see"
    assert firsts(line, config()) == [0, 8, 20, 28]


def test_motion_that_stops_is_no_cut():
    pictures = textured(1, 16, speed=5)
    line = timeline(pictures + [pictures[-1]] * 16)
    assert line.differences[15] > 10 and line.differences[16] == 0
    assert firsts(line, config()) == [0, 8, 16, 24]


def test_the_frame_after_a_cut_is_no_cut_too():
    first, then, *_ = textured(1, 2, low=120, high=255, speed=5)
    line = timeline([np.full_like(first, 10)] * 8 + [first] + [then] * 15)
    assert line.differences[8] - line.differences[9] > 10 < line.differences[9], "scdet takes both"
    assert [place for place, score in enumerate(line.cut_scores()) if score >= 10] == [8]


def test_the_size_of_the_blocks_changes_nothing():
    pictures = textured(1, 20, speed=5) + textured(2, 20, high=255, speed=2)
    one, other = (cut_windows(timeline(pictures, block=block), config()) for block in (1, 16))
    assert one == other


def test_still_windows_are_left_out():
    moving = textured(3, 16)
    cutting = cut_windows(timeline(moving + [moving[-1]] * 24), config(min_motion=0.2))
    assert [window.first for window in cutting.windows] == [0, 8]
    assert cutting.left_out == {"static": 3}


def test_black_windows_are_left_out_and_a_small_bright_thing_on_black_is_not_black():
    black = np.full((3, 64, 64), 12, np.uint8)
    spots = [black.copy() for _ in range(16)]
    for step, spot_CHW in enumerate(spots):
        spot_CHW[2, 20:26, 10 + step : 16 + step] = 230  # blue alone is bright too
    cutting = cut_windows(timeline([black] * 16 + spots), config())
    assert [window.first for window in cutting.windows] == [16, 24]
    assert cutting.left_out == {"black": 2}


def test_of_too_many_clips_an_even_choice_is_kept():
    cutting = cut_windows(timeline([100] * 800), config(max_clips_per_video=4))
    assert [window.first for window in cutting.windows] == [96, 296, 496, 696]
    assert cutting.left_out == {"surplus": 96}
    assert len(firsts(timeline([100] * 24), config(max_clips_per_video=4))) == 3


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        (timeline([99] * 7), "too_short", "1.00 s"),
        (timeline([99] * 40, holes=set(range(1, 40, 2))), "low_fps", "8 frames at 8 per second"),
        (timeline(([50] * 5 + [255] * 5) * 4), "all_cut", "1.00 s"),
        (timeline([5] * 40), "black", "1.00 s"),
        (timeline([99] * 40), "static", "--min-motion 0.2"),
        (Timeline(), "too_short", "1.00 s"),
    ],
)
def test_a_video_without_clips_says_why(line, reason, said):
    cutting = cut_windows(line, config(min_motion=0.2))
    assert not cutting.windows
    code, detail = why_no_clip(line, cutting, config(min_motion=0.2))
    assert code == reason
    assert said in detail


def test_statistics_are_those_of_the_pixels():
    frames_NCHW = np.random.default_rng(0).integers(0, 256, (8, 3, 24, 32)).astype(np.uint8)
    found = cut_windows(timeline(list(frames_NCHW)), config(scene_threshold=100)).windows[0].statistics
    steps = np.abs(np.diff(frames_NCHW.astype(int), axis=0))
    expected = {"brightness": frames_NCHW.mean(), "contrast": frames_NCHW.std(), "motion": steps.mean()}
    assert found == {name: pytest.approx(value, abs=0.001) for name, value in expected.items()}


def test_a_cut_between_dim_scenes_is_found_though_few_levels_change():
    one, other = (textured(seed, 16, low=0, high=60, speed=0) for seed in (1, 2))
    line = timeline([*one, *other])
    assert line.differences.max() < 10, "far below the threshold"
    assert [window.first for window in cut_windows(line, config()).windows] == [0, 8, 16, 24]
    assert [window.first for window in cut_windows(line, config(frames=12)).windows] == [0, 16]
    restless = timeline(textured(1, 32, low=0, high=60, speed=5))
    assert len(cut_windows(restless, config()).windows) == 4, "motion in a dim scene is no cut"


def test_no_clip_goes_through_black_into_another_scene():
    picture_CHW = textured(1, 1)[0].astype(float)
    fading = [(picture_CHW * level).astype(np.uint8) for level in np.linspace(1, 0, 12)]
    line = timeline([*fading, *[np.zeros_like(fading[0])] * 4, *fading[::-1], *fading[:1] * 8])
    assert line.cut_scores().max() < 10, "a fade has no cut score"
    scenes = {window.scene for window in cut_windows(line, config(frames=12, stride=0.125)).windows}
    starts = [window.first for window in cut_windows(line, config(frames=12, stride=0.125)).windows]
    assert scenes == {0, 1} and not [first for first in starts if first < 11 and first + 11 >= 18]
