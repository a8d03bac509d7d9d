"""Films of every kind, and codecs that a machine may lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vgan.errors import ConfigError, MissingToolError
from vgan.media.codecs import CONTAINERS, ENCODERS, encoder_for
from vgan.media.ffmpeg import file_url, run
from vgan.media.films import film_bytes

KINDS = [(container, codec) for container, codecs in CONTAINERS.items() for codec in codecs]


def moving_square(size: int = 32, frames: int = 6) -> np.ndarray:
    clip_THWC = np.full((frames, size, size, 3), (20, 30, 60), np.uint8)
    for place in range(frames):
        clip_THWC[place, 8:24, 2 * place : 2 * place + 16] = (40, 200, 90)
    return clip_THWC


def shown(content: bytes, path: Path, size: int = 32) -> np.ndarray:
    path.write_bytes(content)
    raw, finished = run(["-i", file_url(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], timeout=60)
    assert finished.returncode == 0, finished.stderr
    return np.frombuffer(raw, np.uint8).reshape(-1, size, size, 3)


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_each_kind_of_film_shows_the_frames_it_was_given_the_same_each_time(container, codec, tmp_path) -> None:
    clip_THWC, encoder = moving_square(), encoder_for(container, codec)
    tags = {"digitalSourceType": "made", "comment": "a=b; ü"}
    content = film_bytes(clip_THWC, 8, container, encoder, tags)
    frames = shown(content, tmp_path / f"x.{container}")
    assert frames.shape == clip_THWC.shape
    assert np.abs(frames.astype(int) - clip_THWC).mean() < 3
    assert film_bytes(clip_THWC, 8, container, encoder, tags) == content
    if container != "gif":
        told, _ = run(["-i", file_url(tmp_path / f"x.{container}"), "-f", "ffmetadata", "pipe:1"], timeout=60)
        assert "a\\=b\\; ü" in told.decode() and "made" in told.decode()


def test_a_gif_repeats_and_each_frame_has_its_own_colours(tmp_path) -> None:
    clip_THWC = np.zeros((4, 16, 16, 3), np.uint8)
    for frame in range(4):  # 256 colours a frame, 1,024 in all
        clip_THWC[frame, ..., 0], clip_THWC[frame, ..., 1] = np.mgrid[:16, :16] * 16
        clip_THWC[frame, ..., 2] = frame * 80
    content = film_bytes(clip_THWC, 8, "gif")
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in content
    assert np.abs(shown(content, tmp_path / "x.gif", 16).astype(int) - clip_THWC).max() <= 8


def test_a_codec_that_ffmpeg_cannot_write_is_named_with_those_that_it_can(tmp_path, monkeypatch) -> None:
    """FAULTS 30: an ffmpeg without an encoder is told of before anything is generated."""
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo ffmpeg version 7.1; exit; }\n'
        "echo ' V....D libx264              H.264'; echo ' V..... libsvtav1     AV1'; echo ' A....D libvpx-vp9x  no'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("VGAN_FFMPEG", str(fake))
    with pytest.raises(MissingToolError, match=r"ffmpeg 7\.1 at .*cannot write H\.265: it has no libx265") as caught:
        encoder_for("mp4", "h265")
    assert "it can write H.264, AV1;" in caught.value.hint and "VGAN_FFMPEG" in caught.value.hint
    assert caught.value.exit_code == 2
    assert encoder_for("mp4", "av1").name == "libsvtav1", "the next best that is there"
    with pytest.raises(MissingToolError, match="VP9"):
        encoder_for("webm")


def test_a_container_that_does_not_hold_a_codec_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"webm files do not hold H\.264") as caught:
        encoder_for("webm", "h264")
    assert "mp4" in caught.value.hint
    assert set(ENCODERS) == {codec for codecs in CONTAINERS.values() for codec in codecs}


def test_a_rate_that_no_gif_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 50"):
        film_bytes(moving_square(), 60, "gif")
