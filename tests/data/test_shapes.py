import numpy as np
import pytest

from vgan.data.shapes import DIRECTIONS, SIDES, draw_shape, render_video, write_videos
from vgan.errors import ConfigError
from vgan.media.decode import Decoder, Sampling

SHAPES = 64


def centre(frame_HWC):
    """Centre of what is not black, (x, y) in parts of the frame."""
    weight = frame_HWC.sum(axis=2).astype(float)
    places = (np.arange(len(weight)) + 0.5) / len(weight)
    return weight.sum(axis=0) @ places / weight.sum(), weight.sum(axis=1) @ places / weight.sum()


@pytest.mark.parametrize("size", [32, 64])
def test_the_object_moves_as_its_class_says_and_stays_in_the_frame(size):
    for index in range(SHAPES):
        frames_THWC, shape = render_video(1, index, size=size, frames=8)
        assert shape.direction == DIRECTIONS[index % 2]
        along = 1 if shape.direction == "up" else 0
        steps = np.diff([centre(frame)[along] for frame in frames_THWC])
        assert (steps < 0).all(), "up is towards smaller y, left towards smaller x"
        assert steps.sum() == pytest.approx(-50 / 64, abs=0.02)
        assert abs(centre(frames_THWC[0])[1 - along] - shape.path_T2[0, 1 - along]) < 0.02
        assert shape.path_T2.min() >= 7 / 64 - 1e-9 and shape.path_T2.max() <= 57 / 64 + 1e-9


def test_colour_size_and_background_are_flat_and_constant():
    for index in range(SHAPES):
        frames_THWC, shape = render_video(2, index, size=64, frames=8)
        full = (frames_THWC == shape.colour).all(axis=3)
        black = (frames_THWC == 0).all(axis=3)
        area = (shape.side**2) * (1 if shape.kind == "square" else np.pi / 4)
        assert full.any(axis=(1, 2)).all()
        assert (~black).sum(axis=(1, 2)) == pytest.approx(area, rel=0.6), "edges are one pixel wide"
        brightness = frames_THWC.sum(axis=(1, 2, 3)) / sum(shape.colour)
        assert brightness == pytest.approx(area, rel=0.06)


def test_all_attributes_occur():
    shapes = [draw_shape(0, index, 8) for index in range(400)]
    cells = {(shape.direction, shape.kind, shape.side) for shape in shapes}
    assert len(cells) == 2 * 2 * len(SIDES)
    assert min(max(shape.colour) for shape in shapes) >= 96, "no object is lost in the black"


def test_a_seed_gives_the_same_video_for_ever():
    first, _ = render_video(3, 4)
    again, _ = render_video(3, 4)
    other, _ = render_video(4, 4)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert draw_shape(0, 0, 16).colour == (130, 69, 78), "a change of the law needs a new LAW"


def test_files_show_what_was_rendered_at_half_their_size(shapes_videos):
    for index in range(4):
        path = shapes_videos / DIRECTIONS[index % 2] / f"shape-{index:05d}.mp4"
        expected_THWC, shape = render_video(0, index, size=32, frames=16)
        pixels_TCHW = np.stack([frame.pixels_CHW for frame in Decoder(path, Sampling(16, 32, 32))])
        shown = pixels_TCHW.transpose(0, 2, 3, 1).astype(int)
        assert np.abs(shown - expected_THWC).mean() < 0.5
        inside = (expected_THWC == shape.colour).all(axis=3)
        assert np.abs(shown[inside] - shape.colour).max() < 20, "the colour is flat after H.264"


def test_writing_again_keeps_what_is_there(tmp_path):
    first = write_videos(tmp_path, num=2)
    before = [path.stat().st_mtime_ns for path in first]
    assert write_videos(tmp_path, num=3)[:2] == first
    assert [path.stat().st_mtime_ns for path in first] == before
    with pytest.raises(ConfigError, match="seed 0"):
        write_videos(tmp_path, num=3, seed=1)
