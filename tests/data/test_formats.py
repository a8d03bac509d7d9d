"""What a clip becomes as npy, jpg and mp4, and what is refused as one."""

import io
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from vgan.config import IngestConfig, build
from vgan.data.shapes import render_video
from vgan.data.shards.formats import KINDS, decode_clip, encode_clip
from vgan.errors import ConfigError, CorruptDataError

# Lossless, or the least PSNR in dB: mp4 keeps half the resolution of the saturated colours of `shapes`.
FIDELITY = {"npy": np.inf, "jpg": 40.0, "mp4": 27.0}


def made_clip(size=64, frames=8):
    frames_THWC, _ = render_video(0, 3, size=size, frames=frames)
    return np.ascontiguousarray(frames_THWC.transpose(3, 0, 1, 2))


def gradient(height=64, width=96, frames=4):
    """Smooth, of all colours and moving, so that a wrong matrix, range or order of colours is seen in its means."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 128 + 30 * t]).astype(np.uint8)


def waves(size, frames=16):
    """Moving texture, for which H.264 searches far."""
    random = np.random.default_rng(0)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(size), np.arange(size), indexing="ij")
    clip_CTHW = np.zeros((3, frames, size, size))
    for _ in range(12):
        for colour_THW in clip_CTHW:
            (a, b), (v, w) = random.normal(0, 0.35, 2), random.normal(0, 1.5, 2)
            np.add(colour_THW, np.sin(a * (x - v * t) + b * (y + w * t) + w), out=colour_THW)
    return np.clip(128 + 25 * clip_CTHW, 0, 255).astype(np.uint8)


def decoded(payload, kind, shape):
    out_CTHW = np.full(shape, 77, np.uint8)
    decode_clip(payload, kind, out_CTHW)
    return out_CTHW


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_comes_back_as_good_as_its_format_promises(kind):
    clip_CTHW = made_clip()
    assert psnr(decoded(encode_clip(clip_CTHW, kind, 8), kind, clip_CTHW.shape), clip_CTHW) >= FIDELITY[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_colours_keep_their_order_range_and_matrix(kind):
    clip_CTHW = gradient()
    got = decoded(encode_clip(clip_CTHW, kind, 8), kind, clip_CTHW.shape).astype(np.int16)
    assert np.abs(got - clip_CTHW).max() <= {"npy": 0, "jpg": 8, "mp4": 24}[kind]
    assert np.abs(got.mean((1, 2, 3)) - clip_CTHW.mean((1, 2, 3))).max() < 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [24, 40, 64])
def test_equal_clips_are_equal_bytes_whatever_lies_in_memory(kind, size):
    clip_CTHW = waves(size)
    payloads = set()
    for seed in range(6):
        rubbish = [np.full(size * size * n, seed * 40, np.uint8) for n in (1, 2, 3, 4, 6) for _ in range(20)]
        del rubbish
        payloads.add(encode_clip(clip_CTHW, kind, 8))
    assert len(payloads) == 1


def test_equal_clips_are_equal_bytes_in_another_process():
    code = (
        "import hashlib, numpy as np\nfrom vgan.data.shards.formats import KINDS, encode_clip\n"
        "clip = np.arange(3 * 5 * 32 * 32, dtype=np.uint32).reshape(3, 5, 32, 32).astype(np.uint8)\n"
        "print(*(hashlib.sha256(encode_clip(clip, kind, 29.97)).hexdigest() for kind in KINDS))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("fps", [0.01, 8, 29.97, 120])
def test_an_mp4_says_its_rate_and_its_colours(fps):
    clip_CTHW = gradient()
    with av.open(io.BytesIO(encode_clip(clip_CTHW, "mp4", fps))) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-3)
        frame = next(container.decode(stream))
        assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)


def test_a_jpeg_shows_the_frames_below_one_another():
    clip_CTHW = gradient(height=32, width=48)
    with Image.open(io.BytesIO(encode_clip(clip_CTHW, "jpg", 8))) as image:
        assert image.size == (48, 4 * 32)
        strip_HWC = np.asarray(image).astype(np.int16)
    assert np.abs(strip_HWC - clip_CTHW.transpose(1, 2, 3, 0).reshape(-1, 48, 3)).max() <= 8


def test_an_npy_is_what_numpy_reads_and_writes():
    clip_CTHW = gradient()
    payload = encode_clip(clip_CTHW, "npy", 8)
    assert np.array_equal(np.load(io.BytesIO(payload), allow_pickle=False), clip_CTHW)
    buffer = io.BytesIO()
    np.save(buffer, clip_CTHW)
    assert len(buffer.getvalue()) == len(payload)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_another_shape_is_refused(kind):
    clip_CTHW = gradient()
    payload = encode_clip(clip_CTHW, kind, 8)
    for shape in [(3, 3, 64, 96), (3, 5, 64, 96), (3, 4, 96, 64), (3, 4, 32, 96), (3, 4, 64, 48)]:
        with pytest.raises(CorruptDataError, match=f"not a .{kind} of {shape[1]} frames"):
            decoded(payload, kind, shape)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_another_kind_or_none_is_refused(kind):
    clip_CTHW = gradient()
    others = [encode_clip(clip_CTHW, other, 8) for other in KINDS if other != kind]
    for payload in [*others, b"", b"\0", bytes(100_000), b"\x93NUMPY\x01\x00", b"ftyp" * 50]:
        with pytest.raises(CorruptDataError):
            decoded(payload, kind, clip_CTHW.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_clip_is_refused(kind):
    clip_CTHW = made_clip()
    payload = encode_clip(clip_CTHW, kind, 8)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(CorruptDataError):
            decoded(payload[: int(len(payload) * part)], kind, clip_CTHW.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_gives_an_error_or_a_picture_and_nothing_else(kind):
    clip_CTHW = made_clip(size=32, frames=4)
    payload = encode_clip(clip_CTHW, kind, 8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(payload)
        for place in random.integers(0, len(payload), 5):
            damaged[place] ^= int(random.integers(1, 256))
        try:
            decoded(damaged, kind, clip_CTHW.shape)
        except CorruptDataError:
            refused += 1
    assert refused or kind == "npy"


def test_pictures_that_claim_to_be_huge_are_refused_before_they_are_decoded():
    shape = (3, 4, 16, 16)
    payload = bytearray(encode_clip(np.zeros(shape, np.uint8), "jpg", 8))
    frame = payload.index(b"\xff\xc0")
    payload[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"  # height and width
    with pytest.raises(CorruptDataError):
        decoded(payload, "jpg", shape)


def test_a_jpg_may_not_be_a_png_or_grey():
    shape = (3, 2, 16, 16)
    for mode, form in (("RGB", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG")):
        buffer = io.BytesIO()
        Image.new(mode, (16, 32)).save(buffer, form)
        with pytest.raises(CorruptDataError):
            decoded(buffer.getvalue(), "jpg", shape)


def test_an_mp4_may_hold_nothing_but_one_stream_of_h264():
    shape = (3, 4, 16, 16)
    for codec, streams in (("mpeg4", 1), ("libx264", 2)):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as container:
            made = [container.add_stream(codec, rate=8) for _ in range(streams)]
            for stream in made:
                stream.width = stream.height = 16
                stream.pix_fmt = "yuv420p"
            for number in range(4):
                for stream in made:
                    frame = av.VideoFrame(16, 16, "yuv420p")
                    frame.pts = number
                    container.mux(stream.encode(frame))
            for stream in made:
                container.mux(stream.encode(None))
        with pytest.raises(CorruptDataError, match=r"H\.264"):
            decoded(buffer.getvalue(), "mp4", shape)


def test_a_strip_taller_than_a_jpeg_can_be_is_refused_in_the_config():
    build(IngestConfig, {"frames": 63, "height": 1024, "width": 256})
    for form in ("jpg", "auto"):
        with pytest.raises(ConfigError, match="mp4 or npy"):
            build(IngestConfig, {"frames": 64, "height": 1024, "width": 256, "format": form})
    build(IngestConfig, {"frames": 64, "height": 1024, "width": 256, "format": "mp4"})
