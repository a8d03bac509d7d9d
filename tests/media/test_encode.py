from pathlib import Path

import numpy as np
import pytest

from vgan.errors import ConfigError, StorageError
from vgan.media.decode import Decoder, Sampling
from vgan.media.encode import contact_sheet, mp4_bytes, png_bytes, write_mp4, write_png
from vgan.media.ffmpeg import file_url, run


def moving_square(size: int = 32, frames: int = 8) -> np.ndarray:
    clip_THWC = np.zeros((frames, size, size, 3), np.uint8)
    for place in range(frames):
        clip_THWC[place, 8:24, 2 * place : 2 * place + 16] = (40, 200, 90)
    return clip_THWC


def picture_of(path: Path, height: int, width: int) -> np.ndarray:
    raw, finished = run(["-i", file_url(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], timeout=30)
    assert finished.returncode == 0, finished.stderr
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def test_an_mp4_shows_the_frames_it_was_given(tmp_path):
    clip_THWC = moving_square()
    write_mp4(tmp_path / "clip.mp4", clip_THWC, 8)
    decoder = Decoder(tmp_path / "clip.mp4", Sampling(8, 32, 32))
    shown = np.stack([frame.pixels_CHW for frame in decoder]).transpose(0, 2, 3, 1)
    assert shown.shape == clip_THWC.shape
    assert (decoder.info.fps, decoder.info.codec) == (8, "h264")
    assert np.abs(shown.astype(int) - clip_THWC).mean() < 3
    for place in range(8):
        inside = shown[place, 12:20, 2 * place + 4 : 2 * place + 12].astype(int)
        assert np.abs(inside - (40, 200, 90)).max() <= 12, "the colour is right inside, whatever the matrix"


def test_equal_frames_give_equal_bytes():
    assert mp4_bytes(moving_square(), 8, {"comment": "a"}) == mp4_bytes(moving_square(), 8, {"comment": "a"})


def test_an_mp4_can_be_played_while_it_loads():
    content = mp4_bytes(moving_square(), 8)
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("shape", [(2, 2), (30, 64), (66, 34), (128, 16)])
def test_any_even_size_is_encoded(shape):
    assert mp4_bytes(np.full((3, *shape, 3), 77, np.uint8), 7.5).startswith(b"\0\0\0")


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 31, 32, 3), np.uint8), np.zeros((2, 32, 32, 3), np.float32), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_what_cannot_be_encoded_is_refused_in_words(frames):
    with pytest.raises(ConfigError, match=r"even|uint8"):
        mp4_bytes(frames, 8)


def test_a_failed_encoder_leaves_no_file(monkeypatch, tmp_path):
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo ffmpeg version 9.0; exit; }\necho "[error] no disc" >&2\nexit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("VGAN_FFMPEG", str(fake))
    with pytest.raises(StorageError, match="no disc"):
        write_mp4(tmp_path / "out" / "clip.mp4", moving_square(), 8)
    assert not (tmp_path / "out").exists()


def test_a_png_is_exact(tmp_path):
    image_HWC = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
    write_png(tmp_path / "x.png", image_HWC)
    assert np.array_equal(picture_of(tmp_path / "x.png", 17, 23)[0], image_HWC)
    assert png_bytes(image_HWC) == (tmp_path / "x.png").read_bytes()


def test_a_contact_sheet_reads_from_left_to_right_and_from_top_to_bottom():
    clips = np.zeros((3, 16, 32, 32, 3), np.uint8)
    for clip in range(3):
        for frame in range(16):
            clips[clip, frame] = 50 + 60 * clip + frame
    sheet = contact_sheet(clips, columns=2, frames=4)
    strip, row = 4 * 65 + 12, 64 + 4
    firsts = [sheet[32, 32 + 65 * place, 0] for place in range(4)]
    assert firsts == [50, 55, 60, 65], "first and last frame are shown"
    assert sheet[32, strip + 32, 0] == 110
    assert sheet[row + 32, 32, 0] == 170
    assert sheet[row + 32, strip + 32, 0] == 40, "an empty place is grey"
    assert sheet.shape == (2 * row - 4, 2 * strip - 13, 3)


def test_a_contact_sheet_takes_any_number_of_frames_and_clips():
    for shape in [(1, 1, 8, 8, 3), (5, 3, 64, 48, 3), (2, 9, 128, 128, 3)]:
        assert contact_sheet(np.zeros(shape, np.uint8), columns=3).ndim == 3
