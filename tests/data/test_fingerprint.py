import numpy as np
import pytest

from vgan.data.decoding.fingerprint import BYTES, fingerprint_of, look_the_same, mirrored, thumb_of, values_of
from vgan.data.shapes import render_video


def scene(seed, frames=40, size=64):
    """A rich moving picture that no other seed shows: uint8 [frames, 3, size, size]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    out = np.zeros((frames, 3, size, size))
    for _ in range(12):
        fx, fy, ft, phase = rng.uniform(-3, 3, 4)
        wave_THW = np.sin(2 * np.pi * (fx * x + fy * y + ft * np.arange(frames)[:, None, None] / frames + phase))
        out += rng.uniform(5, 20, 3)[:, None, None] * wave_THW[:, None]
    return np.clip(out + 128, 0, 255).astype(np.uint8)


def values(frames_NCHW, cells=None):
    thumbs_NHW = np.stack([thumb_of(frame_CHW) for frame_CHW in frames_NCHW])
    return values_of(fingerprint_of(thumbs_NHW, list(range(len(frames_NCHW))) if cells is None else cells))


def same(first, second):
    return bool(look_the_same(first[None], second[None])[0])


@pytest.mark.parametrize("shape", [(16, 16), (24, 40), (64, 64), (128, 136)])
def test_a_thumbnail_is_the_mean_colour_of_its_place_and_turns_with_the_picture(shape):
    pixels_CHW = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    assert (thumb_of(pixels_CHW[:, :, ::-1]) == thumb_of(pixels_CHW)[:, ::-1]).all()
    plain_CHW = np.empty((3, *shape), np.uint8)
    plain_CHW[:] = np.asarray([10, 20, 30])[:, None, None]
    thumb_HW = thumb_of(plain_CHW)
    assert thumb_HW.shape == (16, 16) and thumb_HW.dtype == np.uint8
    assert sorted(np.unique(thumb_HW, return_counts=True)[1].tolist()) == [64, 64, 128]


def test_a_fingerprint_is_short_text_of_grey_and_colour():
    frames_NCHW = np.empty((9, 3, 32, 32), np.uint8)
    frames_NCHW[:] = np.asarray([200, 100, 50])[:, None, None]
    thumbs_NHW = np.stack([thumb_of(frame_CHW) for frame_CHW in frames_NCHW])
    text = fingerprint_of(thumbs_NHW, range(9))
    assert text.isascii() and len(text) < 750
    found = values_of(text)
    assert len(found) == BYTES and set(found[:512].tolist()) == {112}
    assert set(found[512:528].tolist()) == {128 + 50} and set(found[528:].tolist()) == {128 - 25}


def test_a_damaged_fingerprint_is_that_of_a_black_video():
    assert not values_of("no base64!").any() and not values_of("AAAA").any()


@pytest.mark.parametrize("num", [1, 2, 7, 8, 9, 100])
def test_the_number_of_frames_and_holes_in_time_do_not_matter(num):
    frames_NCHW = scene(1, frames=400)
    places = np.linspace(0, 399, num).astype(int)
    whole = values(frames_NCHW[places])
    assert len(whole) == BYTES
    doubled = values(np.repeat(frames_NCHW[places], 2, axis=0))
    assert np.abs(whole.astype(int) - doubled).max() <= 1
    held = values(frames_NCHW[places], cells=[3 * place for place in range(num)])
    if num > 1:  # the last frame lasts one cell, the others three
        assert np.abs(whole.astype(int) - held).mean() < 12


def test_copies_look_the_same():
    frames_NCHW = scene(2)
    original = values(frames_NCHW)
    noise = np.random.default_rng(0).normal(0, 4, frames_NCHW.shape)
    noisy_NCHW = np.clip(frames_NCHW + noise, 0, 255).astype(np.uint8)
    half_NCHW = frames_NCHW.reshape(40, 3, 32, 2, 32, 2).mean(axis=(3, 5)).astype(np.uint8)
    every_second = values(frames_NCHW[::2], cells=range(20))
    assert same(original, values(noisy_NCHW))
    assert same(original, values(half_NCHW))
    assert same(original, every_second)
    assert same(original, values(frames_NCHW[..., ::-1])) and same(values(noisy_NCHW[..., ::-1]), original)
    assert (mirrored(original[None])[0] == values(frames_NCHW[..., ::-1])).all()


def test_other_videos_do_not():
    frames_NCHW = scene(3)
    original = values(frames_NCHW)
    assert not same(original, values(scene(4)))
    assert not same(original, values(frames_NCHW[::-1])), "backwards"
    assert not same(original, values(frames_NCHW[:, :, ::-1])), "upside down"
    red_NCHW = (frames_NCHW * np.asarray([1, 0.6, 0.2])[:, None, None]).astype(np.uint8)
    assert not same(values(red_NCHW), values(red_NCHW[:, ::-1])), "red for blue"


def test_one_scenery_is_not_one_video():
    """Two small things that move in other ways before the same picture."""
    rng = np.random.default_rng(5)
    still_CHW = scene(5, frames=1)[0]
    videos = []
    for down in (0, 1):
        frames_NCHW = np.repeat(still_CHW[None], 40, axis=0)
        for place in range(40):
            row, column = (8 + place, 24) if down else (36, 8 + place)
            frames_NCHW[place, :, row : row + 8, column : column + 8] = 255
        videos.append(values(np.clip(frames_NCHW + rng.normal(0, 1, frames_NCHW.shape), 0, 255).astype(np.uint8)))
    assert not same(*videos)


def test_hundreds_of_blobs_on_black_are_all_different():
    videos = np.stack([values(render_video(0, index)[0].transpose(0, 3, 1, 2)) for index in range(300)])
    first, second = np.triu_indices(300, 1)
    assert not look_the_same(videos[first], videos[second]).any()
    assert look_the_same(videos, mirrored(videos)).all()
