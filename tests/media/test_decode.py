import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decoding import equal_frames, first_picture, frames_of

from vgan.media import decode
from vgan.media.decode import Decoder, Sampling


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "8", "12.5"])
def test_a_constant_rate_fills_every_cell_once(lavfi, tmp_path, rate):
    video = lavfi(tmp_path / "cfr.mkv", f"testsrc=size=64x48:rate={rate}:duration=3")
    frames, info = frames_of(video)
    assert [frame.cell for frame in frames] == list(range(24))
    assert info.fps == pytest.approx(eval(rate), abs=0.01)


def test_facts_are_those_of_the_stream(plain_video):
    _, info = frames_of(plain_video)
    assert (info.codec, info.width, info.height, info.fps, info.seconds) == ("h264", 64, 48, 10, 4)
    assert (info.packets, info.frames_decoded, info.decode_errors) == (40, 40, 0)
    assert (info.colour, info.treatment) == ("bt601 limited, assumed", ())
    assert info.tags["major_brand"] == "isom"


def test_each_frame_shows_what_was_shown_at_its_time(lavfi, tmp_path):
    grey = "nullsrc=size=32x32:rate=25:duration=4,geq=lum='16+N*2':cb=128:cr=128"
    frames, _ = frames_of(lavfi(tmp_path / "grey.mp4", grey, "-crf", "1"), fps=5)
    assert [frame.cell for frame in frames] == list(range(20))
    for frame in frames:
        number = round(frame.seconds * 25)
        assert number == frame.cell * 5
        assert abs(frame.pixels_CHW.mean() - number * 2 * 255 / 219) < 2


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "ts", "avi", "flv"])
def test_any_container_of_the_same_stream_gives_the_same_frames(make_video, lavfi, tmp_path, ending):
    # A clock of 25 per second, so that every container can hold its times; and frames out of order.
    video = lavfi(tmp_path / "x.mp4", "testsrc2=size=64x48:rate=25:duration=2", "-pix_fmt", "yuv420p", "-bf", "2")
    expected, _ = frames_of(video)
    other = make_video(tmp_path / f"y.{ending}", "-i", video, "-c", "copy", "-fps_mode", "passthrough")
    frames, info = frames_of(other)
    assert info.frames_decoded == 50
    if ending != "avi":
        assert equal_frames(frames, expected)
    else:  # without presentation times, the last two frames' are a guess
        assert equal_frames(frames[:-1], expected[: len(frames) - 1])
        assert len(frames) >= len(expected) - 1


def test_a_wide_picture_is_cropped_in_the_middle(lavfi, tmp_path):
    graph = "color=black:size=96x32:rate=8:duration=1,drawbox=x=32:y=0:w=32:h=32:color=white:t=fill"
    wide = lavfi(tmp_path / "wide.mp4", graph, "-pix_fmt", "yuv420p", "-crf", "5")
    assert first_picture(wide)[:, 1:-1].min() > 240


def test_a_high_picture_is_cropped_in_the_middle(lavfi, tmp_path):
    graph = "color=black:size=32x96:rate=8:duration=1,drawbox=x=0:y=32:w=32:h=32:color=white:t=fill"
    high = lavfi(tmp_path / "high.mp4", graph, "-pix_fmt", "yuv420p", "-crf", "5")
    assert first_picture(high)[1:-1].min() > 240


def test_fine_stripes_become_grey_and_no_pattern(lavfi, tmp_path):
    graph = "nullsrc=size=384x384:rate=8:duration=1,geq=lum='if(mod(X,2),235,16)':cb=128:cr=128"
    stripes = lavfi(tmp_path / "stripes.mkv", graph, "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    picture = first_picture(stripes, 64, 64)
    assert np.abs(picture - 127.5).max() < 3


@pytest.mark.parametrize("size", ["24x24", "16x40"])
def test_a_small_picture_is_enlarged(lavfi, tmp_path, size):
    small = lavfi(tmp_path / "small.mp4", f"color=0x4080c0:size={size}:rate=8:duration=1")
    assert np.abs(first_picture(small, 64, 64) - (0x40, 0x80, 0xC0)).max() < 6


def test_frames_are_the_receivers_own(plain_video):
    decoder = Decoder(plain_video, Sampling(8, 32, 32))
    kept = []
    for frame in decoder:
        kept.append((frame.pixels_CHW, frame.pixels_CHW.copy()))
    assert all(np.array_equal(held, copy) for held, copy in kept)
    assert len({held.ctypes.data for held, _ in kept}) == len(kept)


def test_the_time_that_is_read_is_bounded(plain_video):
    frames, info = frames_of(plain_video, max_seconds=2.0)
    assert [frame.cell for frame in frames] == list(range(16))
    assert info.frames_decoded == 20
    assert info.seconds == 4, "what is left out is still told"


def test_packets_without_time_are_bounded(lavfi, monkeypatch, tmp_path):
    video = lavfi(tmp_path / "x.mp4", "testsrc2=size=64x48:rate=25:duration=4", "-pix_fmt", "yuv420p")
    monkeypatch.setattr(decode, "MOST_RATE", 10)
    _, info = frames_of(video, max_seconds=4.0)
    assert info.packets == 50


def test_leaving_in_the_middle_closes_the_file(plain_video):
    def open_here() -> int:
        return sum(fd.resolve() == plain_video for fd in Path("/proc/self/fd").iterdir())

    frames: Any = iter(Decoder(plain_video, Sampling(8, 32, 32)))
    next(frames)
    assert open_here() == 1
    frames.close()
    assert open_here() == 0


def test_decoding_starts_no_threads(plain_video):
    before = len(list(Path("/proc/self/task").iterdir()))
    frames: Any = iter(Decoder(plain_video, Sampling(8, 32, 32)))
    next(frames)
    assert len(list(Path("/proc/self/task").iterdir())) == before
    frames.close()


def test_a_size_that_changes_in_the_middle_goes_on(lavfi, tmp_path):
    both = tmp_path / "both.mkv"
    with av.open(str(both), "w") as out:
        stream = None
        for second, size in enumerate(["64x48", "96x96"]):
            graph = f"color=0x4080c0:size={size}:rate=8:duration=1"
            one = lavfi(tmp_path / f"{second}.avi", graph, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2")
            with av.open(str(one)) as part:
                stream = stream or out.add_stream_from_template(part.streams.video[0])
                for packet in part.demux(part.streams.video[0]):
                    if packet.dts is not None:
                        packet.pts = packet.dts = packet.dts + 8 * second
                        packet.stream = stream
                        out.mux(packet)
    frames, info = frames_of(both)
    assert [frame.cell for frame in frames] == list(range(16))
    assert (info.width, info.height) == (64, 48)
    for frame in frames:
        assert np.abs(frame.pixels_CHW.transpose(1, 2, 0).astype(int) - (0x40, 0x80, 0xC0)).max() < 8


@pytest.mark.parametrize(
    "name",
    [
        b"line\nbreak.mp4",
        b"-i.mp4",
        b"%03d.mp4",
        b"http:x.mp4",
        b"quo'te\"s.mp4",
        "emoji-\N{VIDEO CAMERA}.mp4".encode(),
        b"not-utf8-\xff\xfe.mp4",
        b"pipe|.mp4",
        b"a" * 251 + b".mp4",
    ],
)
def test_strange_names_are_names(plain_video, tmp_path, name):
    """FAULTS 31: a name is never an option, a pattern, a protocol or a text."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(plain_video.read_bytes())
    frames, info = frames_of(path)
    assert len(frames) == 32
    assert info.codec == "h264"


def test_a_relative_name_like_a_protocol_is_a_name(plain_video, monkeypatch, tmp_path):
    """FAULTS 31: also where it is all that is given."""
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.mp4", "-i.mp4", "concat:x|y.mp4"):
        Path(name).write_bytes(plain_video.read_bytes())
        assert len(frames_of(Path(name))[0]) == 32


def test_decoding_twice_gives_equal_bytes(plain_video):
    assert equal_frames(frames_of(plain_video)[0], frames_of(plain_video)[0])
