"""FAULTS 18 to 28, 35, 45 and 46 at the decoder: an odd video is shown right, or refused with a reason."""

import contextlib
import logging
import math
import os
import socket
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from decoding import equal_frames, first_picture, frames_of, reason_of
from peak_memory import peak_mb

from vgan.media.decode import VideoError


def first_of_each_cell(times: list[float], fps: float) -> list[float]:
    """The rule in plain words, as an oracle."""
    chosen: dict[int, float] = {}
    for moment in times:
        chosen.setdefault(math.floor((moment - times[0]) * fps + 0.1), moment - times[0])
    return list(chosen.values())


def damaged(path, copy, where=0.5, length=200):
    content = bytearray(path.read_bytes())
    start = int(len(content) * where)
    content[start : start + length] = bytes(byte ^ 0xFF for byte in content[start : start + length])
    copy.write_bytes(content)
    return copy


def cut(path, copy, share):
    copy.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return copy


def test_what_is_no_video_says_so(tmp_path):
    """FAULTS 18: empty, random and text files are refused."""
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "text.mp4").write_text("hello\n")
    (tmp_path / "empty").write_bytes(b"")
    for path in tmp_path.iterdir():
        assert reason_of(path) in {"no_header", "unreadable"}
    assert reason_of(tmp_path / "text.mp4") == "no_header"
    assert reason_of(tmp_path / "missing.mp4") == "unreadable"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    """FAULTS 18: a folder, pipe or device is refused, and waits for nobody."""
    path = tmp_path / "x.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    assert reason_of(path) == "unreadable"


def test_a_gif_named_mp4_is_refused(lavfi, tmp_path):
    """FAULTS 18: the name does not decide what a file is."""
    assert reason_of(lavfi(tmp_path / "liar.mp4", "testsrc2=size=64x48:duration=1", "-f", "gif")) == "unreadable"


def test_a_cut_file_is_refused(make_video, plain_video, tmp_path):
    """FAULTS 19: with its index first it is truncated, with its index last there is no header."""
    for share in (0.3, 0.5, 0.75, 0.95):
        assert reason_of(cut(plain_video, tmp_path / "x.mp4", share)) == "truncated"
        late = make_video(tmp_path / "late.mp4", "-i", plain_video, "-c", "copy")
        assert reason_of(cut(late, tmp_path / "y.mp4", share)) == "no_header"


@pytest.mark.parametrize("ending", ["mkv", "webm", "flv", "avi", "mp4"])
def test_a_cut_file_of_any_container_with_a_length_is_refused(lavfi, tmp_path, ending):
    """FAULTS 19: also Matroska, FLV, AVI and fragmented mp4."""
    codec = {"webm": ("-c:v", "libvpx-vp9"), "avi": ("-c:v", "mpeg4")}.get(ending, ("-c:v", "libx264", "-g", "10"))
    fragments = ("-movflags", "frag_keyframe+empty_moov") if ending == "mp4" else ()
    graph = "testsrc2=size=64x48:rate=10:duration=4"
    whole = lavfi(tmp_path / f"x.{ending}", graph, *codec, "-pix_fmt", "yuv420p", *fragments)
    assert len(frames_of(whole)[0]) == 32
    for share in (0.45, 0.6, 0.85):
        # A fragment's own header may be what was cut.
        allowed = {"truncated", "no_header"} if ending == "mp4" else {"truncated"}
        assert reason_of(cut(whole, tmp_path / f"y.{ending}", share)) in allowed


def test_a_cut_broadcast_gives_what_is_there(make_video, plain_video, tmp_path):
    """FAULTS 19: a transport stream has no declared length; what is counted is what came."""
    whole = make_video(tmp_path / "x.ts", "-i", plain_video, "-c", "copy")
    frames, info = frames_of(cut(whole, tmp_path / "y.ts", 0.5))
    assert 10 <= len(frames) < 32
    assert info.frames_decoded == info.packets < 40


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "flv"])
def test_damage_in_the_middle_is_noticed(make_video, plain_video, tmp_path, ending):
    """FAULTS 20: 200 damaged bytes, of which ffmpeg's exit code tells nothing."""
    whole = make_video(tmp_path / f"x.{ending}", "-i", plain_video, "-c", "copy")
    assert reason_of(damaged(whole, tmp_path / f"y.{ending}")) in {"damaged", "truncated"}


def test_little_damage_is_counted_and_accepted(lavfi, tmp_path):
    """FAULTS 20: below the threshold the video is used and the record says how many errors there were."""
    graph = "testsrc2=size=64x48:rate=25:duration=16"
    whole = lavfi(tmp_path / "x.mp4", graph, "-pix_fmt", "yuv420p", "-g", "5", "-movflags", "+faststart")
    _, info = frames_of(damaged(whole, tmp_path / "y.mp4", length=60))
    assert 1 <= info.decode_errors <= 0.02 * info.packets
    assert frames_of(whole)[1].decode_errors == 0


def test_a_lost_second_half_of_matroska_is_noticed(lavfi, tmp_path):
    """FAULTS 20: a reader that loses the thread, and ends as if that were the end."""
    graph = "testsrc2=size=64x48:rate=10:duration=4"
    whole = lavfi(tmp_path / "x.webm", graph, "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p")
    content = bytearray(whole.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    whole.write_bytes(content)
    assert reason_of(whole) in {"damaged", "truncated"}


def test_sound_and_cover_pictures_are_no_video(make_video, tmp_path):
    """FAULTS 21: sound only, and sound with an attached picture."""
    sound = ("-f", "lavfi", "-i", "sine=duration=1")
    assert reason_of(make_video(tmp_path / "sound.mp4", *sound)) == "no_video_stream"
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=1:duration=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    cover = make_video(tmp_path / "cover.m4a", *sound, *picture, "-disposition:v:0", "attached_pic")
    assert reason_of(cover) == "no_video_stream"


def test_a_cover_picture_beside_a_video_is_passed_over(make_video, plain_video, tmp_path):
    """FAULTS 21: the video is taken though the picture comes first."""
    picture = ("-f", "lavfi", "-i", "testsrc=size=640x640:rate=1:duration=1")
    both = make_video(
        *(tmp_path / "both.mp4", *picture, "-i", plain_video, "-map", "0:v", "-map", "1:v"),
        *("-c:v:0", "mjpeg", "-pix_fmt:v:0", "yuvj420p", "-c:v:1", "copy", "-disposition:v:0", "attached_pic"),
    )
    frames, info = frames_of(both)
    assert (info.width, info.height) == (64, 48)
    assert equal_frames(frames, frames_of(plain_video)[0])


def test_one_frame_is_one_frame(lavfi, tmp_path):
    """FAULTS 22: a single picture; whether that is enough is not the decoder's to say."""
    one = lavfi(tmp_path / "one.mp4", "testsrc2=size=64x48:rate=10:duration=2", "-frames:v", "1", "-pix_fmt", "yuv420p")
    frames, info = frames_of(one)
    assert [(frame.cell, frame.seconds) for frame in frames] == [(0, 0.0)]
    assert info.frames_decoded == 1


def test_frames_of_a_variable_rate_are_chosen_by_presentation_time(lavfi, tmp_path):
    """FAULTS 23: each chosen frame is the first of its cell, none is doubled, gaps stay empty."""
    keep = "testsrc=size=64x48:rate=30:duration=3,select='if(lt(t,1),not(mod(n,3)),if(lt(t,2),eq(n,45),1))'"
    vfr = ("-fps_mode", "vfr", "-pix_fmt", "yuv420p", "-video_track_timescale", "90k")
    video = lavfi(tmp_path / "vfr.mp4", keep, *vfr)
    times = [n / 30 for n in range(90) if (n < 30 and n % 3 == 0) or n == 45 or n >= 60]
    frames, info = frames_of(video)
    assert [frame.seconds for frame in frames] == pytest.approx(first_of_each_cell(times, 8), abs=1e-4)
    cells = [frame.cell for frame in frames]
    assert cells == sorted(set(cells)), "no cell twice"
    assert set(range(9, 12)).isdisjoint(cells), "nothing is shown there, and nothing is invented"
    assert info.frames_decoded == len(times)


CORNERS = np.array([[(230, 20, 20), (20, 200, 20)], [(20, 20, 230), (230, 230, 230)]])


@pytest.fixture(scope="module")
def corners(lavfi, tmp_path_factory):
    """Red, green, blue and white quarters of 96 x 64."""
    boxes = [f"drawbox=x={48 * x}:y={32 * y}:w=48:h=32:color=0x{bytes(CORNERS[y, x].tolist()).hex()}:t=fill"
             for y in range(2) for x in range(2)]  # fmt: skip
    graph = "color=black:size=96x64:rate=8:duration=0.5," + ",".join(boxes)
    return lavfi(tmp_path_factory.mktemp("corners") / "x.mp4", graph, "-pix_fmt", "yuv420p", "-crf", "3")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [(), ("hflip",), ("vflip",)])
def test_turned_and_mirrored_videos_are_upright(corners, tmp_path, degrees, mirrored):
    """FAULTS 24: all display matrices; the sides are swapped in the record."""
    turned = tmp_path / "turned.mp4"
    with av.open(str(corners)) as given, av.open(str(turned), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(degrees, **dict.fromkeys(mirrored, True))
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    expected = np.rot90(CORNERS, degrees // 90)  # counter-clockwise
    expected = expected[:, ::-1] if mirrored == ("hflip",) else expected[::-1] if mirrored else expected
    sides = (96, 64) if degrees % 180 == 0 else (64, 96)
    frames, info = frames_of(turned, height=sides[1] // 2, width=sides[0] // 2)
    assert (info.width, info.height) == sides
    picture = frames[0].pixels_CHW.transpose(1, 2, 0).astype(int)
    height, width, _ = picture.shape
    for y in range(2):
        for x in range(2):
            middle = picture[height // 4 + y * height // 2, width // 4 + x * width // 2]
            assert np.abs(middle - expected[y, x]).max() < 12


def test_pixels_that_are_not_square_are_stretched(lavfi, tmp_path):
    """FAULTS 24: a 32 x 32 picture shown at 64 x 32; a square cut from its middle shows the middle half."""
    graph = (
        "color=red:size=32x32:rate=8:duration=1,drawbox=x=8:y=0:w=16:h=32:color=lime:t=fill,"
        "drawbox=x=12:y=8:w=8:h=16:color=blue:t=fill,setsar=2/1"
    )
    for ending in ("mp4", "mkv", "ts"):
        video = lavfi(tmp_path / f"sar.{ending}", graph, "-c:v", "libx264", "-pix_fmt", "yuv444p", "-crf", "5")
        frames, info = frames_of(video)
        picture = frames[0].pixels_CHW.astype(int)
        assert (info.width, info.height) == (64, 32)
        assert picture[0, :, 2:30].max() < 60, "no red is left"
        blue = picture[2, 16] > 128, picture[2, :, 16] > 128
        assert abs(int(blue[0].sum()) - 16) <= 1 and abs(int(blue[1].sum()) - 16) <= 1, "8 x 16 is shown as 16 x 16"


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv444p"), ("libvpx-vp9", "yuv420p"), ("ffv1", "yuv422p")])
def test_odd_sizes_have_no_strange_edges(lavfi, tmp_path, codec, pixels):
    """FAULTS 25: odd sizes in 4:4:4, 4:2:2 and 4:2:0."""
    graph = "color=0xc02850:size=130x98:rate=8:duration=1,scale=65:49"
    video = lavfi(tmp_path / "odd.mkv", graph, "-c:v", codec, "-pix_fmt", pixels)
    for height, width in ((48, 56), (64, 64), (16, 24)):
        frames, info = frames_of(video, height=height, width=width)
        assert (info.width, info.height) == (65, 49)
        for frame in frames:
            assert np.abs(frame.pixels_CHW.transpose(1, 2, 0).astype(int) - (0xC0, 0x28, 0x50)).max() <= 8


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuvj420p"])
def test_grey_stays_grey_in_ten_bits_and_in_full_range(lavfi, tmp_path, pixels):
    """FAULTS 26: never washed out."""
    for level in (16, 128, 240):
        graph = f"color=0x{level:02x}{level:02x}{level:02x}:size=64x64:rate=8:duration=0.5"
        picture = first_picture(lavfi(tmp_path / "grey.mkv", graph, "-pix_fmt", pixels))
        assert np.abs(picture - level).max() <= 2


@pytest.mark.parametrize(
    ("ending", "codec", "pixels"),
    [("webm", "libvpx-vp9", "yuva420p"), ("mov", "prores_ks", "yuva444p10le"), ("mkv", "ffv1", "bgra")],
)
def test_alpha_is_dropped_and_said_so(lavfi, tmp_path, ending, codec, pixels):
    """FAULTS 26: transparency leaves the colour as it is stored."""
    graph = "color=0xc02850:size=64x64:rate=8:duration=0.5"
    profile = ("-profile:v", "4444") if codec == "prores_ks" else ()
    video = lavfi(tmp_path / f"x.{ending}", graph, "-c:v", codec, "-pix_fmt", pixels, *profile)
    frames, info = frames_of(video)
    assert info.treatment == ("alpha dropped",)
    assert np.abs(frames[0].pixels_CHW.transpose(1, 2, 0).astype(int) - (0xC0, 0x28, 0x50)).max() <= 6


@pytest.mark.parametrize("height", [96, 192])
def test_interlaced_frames_show_one_moment(lavfi, tmp_path, height):
    """FAULTS 26: the fields of two moments are not woven; a square is seen once, with its whole edge."""
    # A white bar that moves 32 pixels from field to field.
    bars = "nullsrc=size=192x192:rate=50:duration=1,format=yuv420p,geq=lum='if(between(X-mod(N,2)*32,64,96),235,16)'"
    graph = bars + ":cb=128:cr=128,tinterlace=interleave_top,setfield=tff"
    options = ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "2", "-pix_fmt", "yuv420p")
    video = lavfi(tmp_path / "x.mkv", graph, *options)
    frames, info = frames_of(video, height=height, width=96)
    assert info.treatment == ("deinterlaced",)
    assert info.height == 192
    picture = frames[0].pixels_CHW.astype(int)
    across = picture.mean(axis=(0, 1))
    assert np.ptp(picture.mean(axis=0), axis=0).max() < 40, "all lines are alike"
    assert (across > 200).any() and not ((across > 60) & (across < 190)).sum() > 4


def test_a_shifted_start_changes_nothing(make_video, plain_video, tmp_path):
    """FAULTS 27: times are relative to the first frame, wherever the file starts."""
    expected, _ = frames_of(plain_video)
    for offset, ending in (("5", "mkv"), ("-1", "mp4"), ("100", "ts")):
        out = ("-c", "copy", "-output_ts_offset", offset, "-avoid_negative_ts", "disabled")
        shifted = make_video(tmp_path / f"x.{ending}", "-i", plain_video, *out)
        frames, _ = frames_of(shifted)
        assert len(frames) >= 22
        if offset != "-1":  # what lies before 0 is cut off by an edit list
            assert equal_frames(frames, expected)


def test_an_edit_list_is_obeyed(make_video, lavfi, tmp_path):
    """FAULTS 27: what the edit list leaves out is not shown, and time starts after it."""
    graph = "nullsrc=size=32x32:rate=10:duration=4,geq=lum='16+N*5':cb=128:cr=128"
    video = lavfi(tmp_path / "x.mp4", graph, "-crf", "1", "-g", "40")
    edited = make_video(tmp_path / "y.mp4", "-ss", "1.5", "-i", video, "-c", "copy")
    frames, _ = frames_of(edited, fps=5)
    assert frames[0].cell == 0
    assert len(frames) in (12, 13)
    assert abs(frames[0].pixels_CHW.mean() - 15 * 5 * 255 / 219) < 12


def test_a_stream_that_appears_late_does_not_disturb(make_video, lavfi, tmp_path):
    """FAULTS 27: in a broadcast streams come and go; what was chosen goes on."""
    # Long enough that neither the first ten seconds nor the last part of the file show the other streams.
    graph = "testsrc2=size=320x240:rate=10:duration=15"
    first = lavfi(tmp_path / "first.ts", graph, "-c:v", "mpeg4", "-pix_fmt", "yuv420p", "-q:v", "2")
    later = make_video(
        *(tmp_path / "later.ts", "-i", first, "-f", "lavfi", "-i", "sine=duration=15", "-c:v", "copy", "-map", "0"),
        *("-map", "1", "-mpegts_start_pid", "0x300", "-mpegts_service_id", "7", "-output_ts_offset", "15"),
    )
    last = make_video(tmp_path / "last.ts", "-i", first, "-c", "copy", "-output_ts_offset", "30")
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + later.read_bytes() + last.read_bytes())
    with av.open(str(both)) as video:
        assert len(video.streams) == 1, "the others appear while it is read"
    frames, info = frames_of(both)
    expected, _ = frames_of(first)
    assert equal_frames(frames[:119], expected[:119])
    assert len(frames) >= 230
    assert info.decode_errors <= 1


def test_the_first_video_stream_is_taken(make_video, plain_video, tmp_path):
    """FAULTS 27: several video streams; the others are not even read."""
    other = ("-f", "lavfi", "-i", "color=white:size=640x480:rate=30:duration=4")
    both = make_video(tmp_path / "two.mkv", "-i", plain_video, *other, "-map", "0:v", "-map", "1:v", "-c:v:0", "copy")
    frames, info = frames_of(both)
    assert (info.width, info.height) == (64, 48)
    assert equal_frames(frames, frames_of(plain_video)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of memory")
@pytest.mark.parametrize("ending", ["avi", "mkv", "mov"])
def test_a_huge_picture_is_refused_before_it_is_decoded(lavfi, tmp_path, ending):
    """FAULTS 28: 8192 x 8192 pixels in 400 kB; the decoder never gets the memory for it."""
    graph = "color=size=8192x8192:rate=1:duration=1"
    huge = lavfi(tmp_path / f"huge.{ending}", graph, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = peak_mb()
    assert reason_of(huge) == "too_large"
    assert peak_mb() - before < 50, "one such picture has 100 MB"


def test_a_hundred_hours_in_four_kilobytes_cost_four_frames(lavfi, tmp_path):
    """FAULTS 28: frames are never doubled to fill time, and time is bounded."""
    long = lavfi(tmp_path / "long.mkv", "color=size=16x16:rate=1/3600:duration=360000")
    assert long.stat().st_size < 10_000
    frames, info = frames_of(long)
    assert len(frames) == 4
    assert frames[-1].seconds < 14_400
    assert info.frames_decoded == 4
    assert len(frames_of(long, max_seconds=3600.0)[0]) == 1


def test_a_decoder_that_is_not_on_the_list_is_not_used(lavfi, tmp_path):
    """FAULTS 28: MagicYUV, of CVE-2026-8461."""
    magic = lavfi(tmp_path / "x.avi", "testsrc2=size=64x48:rate=10:duration=1", "-c:v", "magicyuv")
    assert reason_of(magic) == "unsupported_codec"


def test_a_playlist_in_disguise_opens_neither_files_nor_connections(make_video, plain_video, tmp_path):
    """FAULTS 35: playlists, lists of files and session descriptions named like videos."""
    marker = make_video(tmp_path / "marker.ts", "-i", plain_video, "-c", "copy")
    os.utime(marker, (1, 1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        texts = {
            "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{marker}\n#EXT-X-ENDLIST\n",
            "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{marker}\n#EXT-X-ENDLIST\n",
            "hls_http.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            "concat.mkv": f"ffconcat version 1.0\nfile {marker}\n",
            "sdp.avi": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            "dash.mp4": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">{url}</MPD>',
        }
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
            assert reason_of(tmp_path / name) in {"unreadable", "no_header"}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert len(frames_of(marker)[0]) == 32, "it could have been read"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_hostile_text_in_tags_is_bounded_and_changes_nothing(make_video, plain_video, tmp_path, ending):
    """FAULTS 46: tags are passed on as they are, but short; who shows them must escape them."""
    tags = ("-metadata", "title=<script>\x1b[31m", "-metadata", "comment=" + "x" * 100_000)
    video = make_video(tmp_path / f"x.{ending}", "-i", plain_video, "-c", "copy", *tags)
    frames, info = frames_of(video)
    assert equal_frames(frames, frames_of(plain_video)[0])
    told = {key.lower(): value for key, value in info.tags.items()}
    assert told["title"] == "<script>\x1b[31m"
    assert max(map(len, told.values())) <= 4096
    assert len(told) <= 64


def test_a_title_that_is_no_utf8_hurts_nobody(make_video, plain_video, tmp_path):
    """FAULTS 46: bytes that are no text."""
    video = make_video(tmp_path / "x.mkv", "-i", plain_video, "-c", "copy", "-metadata", "title=QQQQ")
    video.write_bytes(video.read_bytes().replace(b"QQQQ", b"\xff\xfe\x00\x80"))
    frames, info = frames_of(video)
    assert equal_frames(frames, frames_of(plain_video)[0])
    assert all(value.encode() for value in info.tags.values())


def test_a_refusal_names_no_path_and_prints_nothing(plain_video, tmp_path, caplog, capfd):
    """FAULTS 45, 46: the detail is one short printable line; FFmpeg's own messages go nowhere."""
    folder = tmp_path / "secret-canary\x1b[31m"
    folder.mkdir()
    with caplog.at_level(logging.DEBUG):
        for share in (0.0, 0.1, 0.5, 0.9):
            with pytest.raises(VideoError) as caught:
                frames_of(cut(plain_video, folder / "x.mp4", share))
            assert "canary" not in str(caught.value)
            assert str(caught.value).isprintable()
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
