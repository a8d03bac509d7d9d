import numpy as np
import pytest
from decoding import first_picture, frames_of

from vgan.media.borders import Borders, Rect, find_borders

MOVING = "testsrc2=size={size}:rate=10:duration=6"


@pytest.fixture(scope="module")
def letterboxed(lavfi, tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "x.mp4"
    graph = MOVING.format(size="160x64") + ",pad=160:120:0:28:black"
    return lavfi(path, graph, "-pix_fmt", "yuv420p", "-g", "10", "-crf", "20")


def test_black_bars_are_found_from_key_frames(letterboxed):
    found = find_borders(letterboxed)
    assert found
    assert found.of_size == (160, 120)
    part = found.part
    assert (part.x, part.width) == (0, 160)
    assert 28 <= part.y <= 32 and 88 <= part.y + part.height <= 92


def test_bars_are_cropped_only_when_asked(letterboxed):
    frames, info = frames_of(letterboxed, height=32, width=64, crop="borders")
    assert info.treatment == ("borders cropped",)
    assert (info.width, info.height) == (160, 120), "the record says what the file shows"
    means = np.stack([frame.pixels_CHW for frame in frames]).mean(axis=(0, 1, 3))
    assert means.min() > 30, "no line is black"
    whole, info = frames_of(letterboxed, height=32, width=32)
    assert info.treatment == ()
    assert whole[0].pixels_CHW[:, :4].max() < 20, "the bar is there"


def test_pillars_are_cropped_too(lavfi, tmp_path):
    graph = MOVING.format(size="64x96") + ",pad=160:96:48:0:black"
    video = lavfi(tmp_path / "x.mkv", graph, "-pix_fmt", "yuv420p", "-g", "10")
    frames, _ = frames_of(video, height=48, width=32, crop="borders")
    assert np.stack([frame.pixels_CHW for frame in frames]).mean(axis=(0, 1, 2)).min() > 30


def test_bars_of_full_range_are_black_too(lavfi, tmp_path):
    graph = MOVING.format(size="160x72") + ",pad=160:120:0:24:black"
    video = lavfi(tmp_path / "x.avi", graph, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2")
    found = find_borders(video)
    assert found and 64 <= found.part.height <= 72


@pytest.mark.parametrize(
    "graph",
    [
        "color=black:size=160x120:rate=10:duration=3",
        # A lamp in the night: what would be left is too little to be a picture.
        "color=black:size=160x120:rate=10:duration=3,drawbox=x=70:y=50:w=20:h=20:color=white:t=fill",
        MOVING.format(size="160x120"),
        # A bar that is only there at times.
        MOVING.format(size="160x120") + ",drawbox=x=0:y=0:w=160:h=30:color=black:t=fill:enable='lt(t,3)'",
    ],
)
def test_a_dark_scene_and_a_full_picture_stay_whole(lavfi, tmp_path, graph):
    video = lavfi(tmp_path / "x.mp4", graph, "-pix_fmt", "yuv420p", "-g", "10")
    assert find_borders(video) is None
    _, info = frames_of(video, crop="borders")
    assert info.treatment == ()


def test_few_frames_are_decoded_of_a_long_video(letterboxed, monkeypatch, lavfi, tmp_path):
    from vgan.media import borders

    seen = []
    luma = borders._luma
    monkeypatch.setattr(borders, "_luma", lambda frame: seen.append(frame.pts) or luma(frame))
    graph = "testsrc2=size=64x24:rate=2:duration=600,pad=64:48:0:12:black"
    find_borders(lavfi(tmp_path / "x.mp4", graph, "-pix_fmt", "yuv420p", "-g", "4", "-preset", "ultrafast"))
    assert len(set(seen)) == len(seen) == borders.KEY_FRAMES
    assert max(seen) > 0.8 * 600 / 2 * (seen[1] - seen[0]) / 18, "they are spread over the file"


def test_bars_of_a_video_of_unknown_length_are_found(letterboxed, make_video, tmp_path):
    options = ("-c", "copy", "-f", "matroska", "-live", "1")
    live = make_video(tmp_path / "live.mkv", "-i", letterboxed, *options)
    _, info = frames_of(live, crop="borders")
    assert info.seconds == 0
    assert info.treatment == ("borders cropped",)
    assert find_borders(live) == find_borders(letterboxed)


def test_bars_around_a_turned_picture_are_cropped(letterboxed, tmp_path):
    import av

    turned = tmp_path / "turned.mp4"
    with av.open(str(letterboxed)) as given, av.open(str(turned), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(90)
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert find_borders(turned) == find_borders(letterboxed) != Borders(Rect(0, 0, 160, 120), (160, 120))
    picture = first_picture(turned, 64, 32, crop="borders")
    assert picture.mean(axis=(0, 2)).min() > 30
