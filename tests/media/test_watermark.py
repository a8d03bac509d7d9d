import hashlib

import numpy as np
import pytest
from PIL import Image

from vgan.data.shapes import draw_shape, render
from vgan.media import watermark
from vgan.media.decode import Decoder, Sampling
from vgan.media.encode import mp4_bytes
from vgan.media.watermark import THRESHOLD, Detector, detect, embed


def shapes(number, size=64, frames=16):
    return render(draw_shape(0, number, frames), size)


def cloudy(seed, size=64, frames=4):
    """Smooth patches of all sizes that drift, as far as they go like footage."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    falls = 1 / np.maximum(np.hypot(x, y), 1 / size) ** 1.2
    waves = np.fft.fft2(rng.normal(size=(3, size, size))) * falls
    picture = np.real(np.fft.ifft2(waves))
    picture = picture / picture.std() * 40 + rng.uniform(80, 170)
    moved = [np.roll(picture, (shift, 2 * shift), (1, 2)) for shift in range(frames)]
    return np.stack(moved).transpose(0, 2, 3, 1).clip(0, 255).astype(np.uint8)


def half(frames_THWC):
    smaller = [Image.fromarray(f).resize((f.shape[1] // 2, f.shape[0] // 2), 2) for f in frames_THWC]
    return np.stack([np.asarray(f) for f in smaller])


def encoded(frames_THWC, folder, crf):
    (folder / "x.mp4").write_bytes(mp4_bytes(frames_THWC, 8, crf=crf))
    _, height, width, _ = frames_THWC.shape
    decoded = Decoder(folder / "x.mp4", Sampling(8, height, width))
    return np.stack([frame.pixels_CHW.transpose(1, 2, 0) for frame in decoded])


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


@pytest.mark.parametrize("clip", [shapes(0), shapes(1), cloudy(0, frames=16), cloudy(1, frames=16)])
def test_the_mark_survives_half_the_size_and_strong_compression(clip, tmp_path):
    marked = embed(clip)
    assert detect(encoded(half(marked), tmp_path, 28)) >= THRESHOLD
    assert detect(clip) < THRESHOLD


@pytest.mark.parametrize(
    "clip",
    [shapes(2), cloudy(2), np.zeros((4, 64, 64, 3), np.uint8), np.full((4, 64, 64, 3), 255, np.uint8)],
    ids=["shape on black", "clouds", "black", "white"],
)
def test_the_mark_changes_little_and_black_less(clip):
    marked = embed(clip)
    assert marked.shape == clip.shape and marked.dtype == np.uint8
    assert detect(marked) >= THRESHOLD
    change = np.abs(marked.astype(int) - clip)
    assert psnr(marked, clip) >= 38 and change.max() <= watermark.CHANGE
    if clip.mean() < 30:
        assert psnr(marked, clip) >= 41 and np.quantile(change, 0.9) <= watermark.CHANGE_ON_BLACK + 0.5


def test_equal_frames_are_marked_alike_and_the_original_stays():
    clip = shapes(3)
    before = clip.copy()
    clip.setflags(write=False)
    assert np.array_equal(embed(clip), embed(before)) and np.array_equal(clip, before)


def test_fewer_than_one_unmarked_clip_in_a_hundred_is_taken_for_marked():
    scores = np.array([detect(cloudy(seed, 32, 2)) for seed in range(300)])
    assert np.mean(scores >= THRESHOLD) < 0.01
    assert scores.std() > 0.5, "clouds are no test when they have no frequencies"


def test_a_clip_marked_today_is_found_by_every_later_version():
    assert hashlib.sha256(np.sign(watermark._signs()).astype(np.int8).tobytes()).hexdigest()[:16] == "8622d2852c082213"


@pytest.mark.parametrize("shape", [(1, 64, 64), (8, 48, 96), (3, 17, 33), (2, 120, 64)])
def test_any_shape_and_length_is_marked(shape):
    clip = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    marked = embed(clip)
    assert detect(marked) >= THRESHOLD
    doubled = np.stack([np.asarray(Image.fromarray(f).resize((200, 150), 3)) for f in marked])
    assert detect(doubled) >= THRESHOLD, "frequencies count per picture, not per pixel"


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (1, 16, 1)])
def test_what_is_too_small_for_a_mark_passes(shape):
    clip = np.full((*shape, 3), 9, np.uint8)
    assert embed(clip).shape == clip.shape and np.isfinite(detect(clip))


def test_no_picture_is_no_mark():
    assert Detector().score() == 0
    assert detect(np.zeros((2, 32, 32, 3), np.uint8)) == 0
    assert detect(np.full((2, 32, 32, 3), 77, np.uint8)) == pytest.approx(0, abs=0.01)
