import math
import os
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from vgan.media import decode
from vgan.media.decode import Decoder, VideoError
from vgan.media.ffmpeg import find_ffmpeg
from vgan.storage import process_start


def frames_of(path: Path, fps: float = 8.0, height: int = 32, width: int = 32):
    decoder = Decoder(path, fps=fps, height=height, width=width)
    frames = list(decoder)
    return frames, decoder.info


def reason_of(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        frames_of(path)
    assert caught.value.detail
    assert caught.value.detail.isprintable()
    return caught.value.reason


def first_of_each_cell(times: list[float], fps: float) -> list[float]:
    """The rule in plain words, as an oracle."""
    chosen: dict[int, float] = {}
    for moment in times:
        chosen.setdefault(math.floor((moment - times[0]) * fps + 0.1), moment - times[0])
    return list(chosen.values())


def test_frames_of_a_variable_rate_are_chosen_by_presentation_time(lavfi, tmp_path):
    keep = "testsrc=size=64x48:rate=30:duration=3,select='if(lt(t,1),not(mod(n,3)),if(lt(t,2),eq(n,45),1))'"
    video = lavfi(
        tmp_path / "vfr.mp4", keep, "-fps_mode", "vfr", "-pix_fmt", "yuv420p", "-video_track_timescale", "90k"
    )
    times = [n / 30 for n in range(90) if (n < 30 and n % 3 == 0) or n == 45 or n >= 60]
    frames, info = frames_of(video)
    assert [frame.seconds for frame in frames] == pytest.approx(first_of_each_cell(times, 8), abs=1e-4)
    cells = [frame.cell for frame in frames]
    assert cells == sorted(set(cells)), "no cell twice"
    assert set(range(9, 12)).isdisjoint(cells), "nothing is shown there, and nothing is invented"
    assert info.frames_decoded == len(times)


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "8", "12.5"])
def test_a_constant_rate_fills_every_cell_once(lavfi, tmp_path, rate):
    video = lavfi(tmp_path / "cfr.mkv", f"testsrc=size=64x48:rate={rate}:duration=3")
    frames, info = frames_of(video)
    assert [frame.cell for frame in frames] == list(range(24))
    assert info.fps == pytest.approx(eval(rate), abs=0.01)


def test_a_shifted_start_changes_nothing(make_video, plain_video, tmp_path):
    shifted = make_video(tmp_path / "late.mkv", "-i", plain_video, "-c", "copy", "-output_ts_offset", "5")
    expected, _ = frames_of(plain_video)
    frames, _ = frames_of(shifted)
    assert [frame.cell for frame in frames] == [frame.cell for frame in expected]
    assert all(np.array_equal(a.pixels_HWC, b.pixels_HWC) for a, b in zip(frames, expected, strict=True))


def test_a_rotated_video_is_upright_and_its_sides_are_swapped(lavfi, make_video, tmp_path):
    graph = "color=red:size=64x32:rate=8:duration=1[r];color=blue:size=64x32:rate=8[b];[r][b]hstack=shortest=1"
    lying = lavfi(tmp_path / "lying.mp4", graph)
    if find_ffmpeg().release >= (6, 0):
        turned = make_video(tmp_path / "t.mp4", "-display_rotation", "90", "-i", lying, "-c", "copy")
    else:
        turned = make_video(tmp_path / "t.mp4", "-i", lying, "-c", "copy", "-metadata:s:v:0", "rotate=90")
    frames, info = frames_of(turned, height=64, width=16)
    picture = frames[0].pixels_HWC
    assert (info.width, info.height) == (32, 128)
    assert picture[60, 8, 0] > 200 > 50 > picture[60, 8, 2], "red, on the left before, is below"
    assert picture[4, 8, 2] > 200 > 50 > picture[4, 8, 0]


def test_pixels_that_are_not_square_are_stretched(lavfi, tmp_path):
    # A 32 x 32 picture shown at 64 x 32: a square cut from its middle shows the middle half.
    graph = (
        "color=red:size=32x32:rate=8:duration=1,drawbox=x=8:y=0:w=16:h=32:color=lime:t=fill,"
        "drawbox=x=12:y=8:w=8:h=16:color=blue:t=fill,setsar=2/1"
    )
    video = lavfi(tmp_path / "sar.mp4", graph, "-pix_fmt", "yuv444p", "-crf", "5")
    frames, info = frames_of(video)
    picture = frames[0].pixels_HWC.astype(int)
    assert (info.width, info.height) == (64, 32)
    assert picture[:, 2:30, 0].max() < 60, "no red is left"
    blue = picture[16, :, 2] > 128, picture[:, 16, 2] > 128
    assert abs(int(blue[0].sum()) - 16) <= 1 and abs(int(blue[1].sum()) - 16) <= 1, "8 x 16 is shown as 16 x 16"


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv444p"), ("libvpx-vp9", "yuv420p"), ("ffv1", "yuv422p")])
def test_odd_sizes_have_no_strange_edges(lavfi, tmp_path, codec, pixels):
    graph = "color=0xc02850:size=130x98:rate=8:duration=1,scale=65:49"
    video = lavfi(tmp_path / "odd.mkv", graph, "-c:v", codec, "-pix_fmt", pixels)
    frames, info = frames_of(video, height=48, width=56)
    assert (info.width, info.height) == (65, 49)
    for frame in frames:
        assert np.abs(frame.pixels_HWC.astype(int) - (0xC0, 0x28, 0x50)).max() <= 8


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuvj420p"])
def test_grey_stays_grey_in_ten_bits_and_in_full_range(lavfi, tmp_path, pixels):
    video = lavfi(tmp_path / "grey.mkv", "color=0x808080:size=64x64:rate=8:duration=1", "-pix_fmt", pixels)
    frames, _ = frames_of(video)
    assert abs(int(frames[0].pixels_HWC.mean()) - 128) <= 2


def test_a_wide_picture_is_cropped_in_the_middle(lavfi, tmp_path):
    graph = "color=black:size=96x32:rate=8:duration=1,drawbox=x=32:y=0:w=32:h=32:color=white:t=fill"
    frames, _ = frames_of(lavfi(tmp_path / "wide.mp4", graph, "-pix_fmt", "yuv420p", "-crf", "5"))
    assert frames[0].pixels_HWC[:, 1:-1].min() > 240


def test_a_file_that_is_no_video_says_why(lavfi, make_video, plain_video, tmp_path):
    (tmp_path / "text.mp4").write_text("hello\n")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "half.mp4").write_bytes(plain_video.read_bytes()[: plain_video.stat().st_size * 3 // 4])
    damaged = bytearray(plain_video.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 300] = bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    end_index = make_video(tmp_path / "late.mp4", "-i", plain_video, "-c", "copy")
    (tmp_path / "cut.mp4").write_bytes(end_index.read_bytes()[: end_index.stat().st_size // 2])
    other = make_video(tmp_path / "late.mkv", "-i", plain_video, "-c", "copy")
    (tmp_path / "half.mkv").write_bytes(other.read_bytes()[: other.stat().st_size * 3 // 4])
    sound = ("-f", "lavfi", "-i", "sine=duration=1")
    make_video(tmp_path / "sound.mp4", *sound)
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=1:duration=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    make_video(tmp_path / "cover.m4a", *sound, *picture, "-disposition:v:0", "attached_pic")
    reasons = {
        name: reason_of(tmp_path / name)
        for name in sorted(path.name for path in tmp_path.iterdir())
        if not name.startswith("late")
    }
    assert reasons.pop("noise.mp4") in {"no_header", "unreadable"}, "as it looks like one container or none"
    assert reasons == {
        "cover.m4a": "no_video_stream",
        "cut.mp4": "no_header",
        "damaged.mp4": "damaged",
        "half.mkv": "truncated",
        "half.mp4": "truncated",
        "sound.mp4": "no_video_stream",
        "text.mp4": "no_header",
    }


def test_a_playlist_in_disguise_opens_neither_files_nor_connections(plain_video, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        texts = {
            "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{plain_video}\n#EXT-X-ENDLIST\n",
            "hls_http.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            "concat.mkv": f"ffconcat version 1.0\nfile {plain_video}\n",
            "sdp.avi": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        }
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
            assert reason_of(tmp_path / name) in {"unreadable", "no_header"}
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_huge_picture_is_refused_before_it_is_decoded(lavfi, tmp_path):
    graph = "color=size=8192x8192:rate=1:duration=1"
    assert reason_of(lavfi(tmp_path / "huge.avi", graph, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")) == "too_large"


def test_a_hundred_hours_in_four_kilobytes_give_an_hour_at_most(lavfi, tmp_path):
    graph = "color=size=16x16:rate=1/600:duration=360000"
    frames, _ = frames_of(lavfi(tmp_path / "long.mkv", graph))
    assert len(frames) <= 7
    assert frames[-1].seconds <= decode.LONGEST_SECONDS


def test_an_ffmpeg_that_hangs_is_killed_and_named(monkeypatch, plain_video, tmp_path):
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo ffmpeg version 9.9; exit; }\n'
        f"trap '' TERM; sleep 100 & echo $$ $! > {tmp_path}/pids; wait; sleep 100\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("VGAN_FFMPEG", str(fake))
    with pytest.raises(VideoError) as caught:
        list(Decoder(plain_video, fps=8, height=32, width=32, timeout=0.5))
    assert caught.value.reason == "decode_timeout"
    pids = (tmp_path / "pids").read_text().split()
    for _ in range(200):
        if not any(process_start(int(pid)) for pid in pids):
            return
        time.sleep(0.02)
    pytest.fail("it or a child of its own is still there")


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
        b"x\n[info]   Stream #0:0 (prores) -> settb.mp4",
    ],
)
def test_strange_names_are_names(plain_video, tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(plain_video.read_bytes())
    frames, info = frames_of(path)
    assert len(frames) == 32
    assert info.codec == "h264"


def test_leaving_in_the_middle_ends_the_child(plain_video):
    frames = iter(Decoder(plain_video, fps=8, height=32, width=32))
    next(frames)
    (child,) = psutil.Process().children()
    frames.close()
    assert not child.is_running()


def test_a_second_video_stream_does_not_disturb(make_video, plain_video, tmp_path):
    other = ("-f", "lavfi", "-i", "color=white:size=640x480:rate=30:duration=4")
    both = make_video(tmp_path / "two.mkv", "-i", plain_video, *other, "-map", "0:v", "-map", "1:v", "-c:v:0", "copy")
    frames, info = frames_of(both)
    expected, _ = frames_of(plain_video)
    assert (info.width, info.height) == (64, 48)
    assert all(np.array_equal(a.pixels_HWC, b.pixels_HWC) for a, b in zip(frames, expected, strict=True))
