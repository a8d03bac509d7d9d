import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_records import made_video

from vgan.config import IngestConfig
from vgan.data.loading.loader import ClipSet, batch_indices, epoch_order
from vgan.data.loading.prefetch import AHEAD, Prefetcher
from vgan.data.manifest import new_version, write_batch
from vgan.data.shards.formats import KINDS, decode_clip, encode_clip
from vgan.data.shards.writer import Sample, write_shards
from vgan.errors import CorruptDataError
from vgan.records import Batch
from vgan.workspace import DatasetFolder

SHAPE = (3, 2, 16, 16)


def clip(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


def key(number):
    return f"{'ab' * 8}-{number:05d}"


@pytest.fixture
def folder(tmp_path):
    return DatasetFolder(tmp_path)


def write(folder, num=5, *, kind="npy", labels=()):
    """A version with `num` clips of one video, in the last of `labels`."""
    samples = [Sample(key(n), kind, encode_clip(clip(n), kind, 8), {"label": "b"}) for n in range(num)]
    video = made_video("ab" * 32, label=labels[-1] if labels else None)
    shards = tuple(write_shards(folder.shards, "train", samples))
    batch = write_batch(folder, Batch(key="k", videos=(video,), rejections=(), shards=shards))
    return new_version("d", 1, IngestConfig(frames=2, height=16, width=16, format=kind), labels, [batch])


def test_every_clip_is_read_as_it_was_written(folder):
    clips = ClipSet(folder, write(folder, labels=("a", "b")), "train")
    assert len(clips) == 5 and clips.shape_CTHW == SHAPE
    assert clips.keys == [key(n) for n in range(5)]
    assert clips.labels.tolist() == [1] * 5
    batch = clips.read(np.asarray([4, 0, 4]))
    assert all(np.array_equal(got, clip(seed)) for got, seed in zip(batch, (4, 0, 4), strict=True))
    clips.close()
    assert np.array_equal(clips.read([2])[0], clip(2)), "it opens again"
    assert len(ClipSet(folder, write(folder), "heldout")) == 0


def test_many_shards_are_read_with_few_open_files(folder, monkeypatch):
    monkeypatch.setattr("vgan.data.loading.loader.OPEN_SHARDS", 2)
    monkeypatch.setattr("vgan.data.shards.writer.SHARD_BYTES", 1)
    dataset = write(folder, 6)
    assert len(dataset.shards) == 6
    clips = ClipSet(folder, dataset, "train")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for index in (0, 5, 1, 4, 2, 3, 0):
        assert np.array_equal(clips.read([index])[0], clip(index))
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208


def test_an_epoch_shows_each_clip_once_in_an_order_of_its_own():
    orders = [epoch_order(100, 0, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in [*orders, epoch_order(100, 1, 0)]}) == 4


def test_a_step_has_the_same_clips_whatever_came_before_it():
    straight = [batch_indices(10, 4, 7, step).tolist() for step in range(9)]
    assert batch_indices(10, 4, 7, 6).tolist() == straight[6]
    flat = [index for batch in straight for index in batch]
    assert sorted(flat[:10]) == sorted(flat[10:20]) == list(range(10)), "epochs follow one another without loss"
    assert len(batch_indices(3, 16, 0, 0)) == 16, "a set smaller than a batch is shown several times"


def test_the_order_of_a_run_is_the_one_that_it_always_was():
    """A resumed run of an older version goes on with the same clips."""
    assert batch_indices(10, 4, 7, 0).tolist() == [int(epoch_order(10, 7, 0)[n]) for n in range(4)]
    for num, batch, step in ((10, 4, 2), (3, 16, 5), (7, 7, 3), (1, 4, 9), (100, 1, 250)):
        places = range(step * batch, (step + 1) * batch)
        expected = [int(epoch_order(num, 1, place // num)[place % num]) for place in places]
        assert batch_indices(num, batch, 1, step).tolist() == expected


@pytest.mark.parametrize("kind", ["jpg", "mp4"])
def test_compressed_clips_are_read_as_they_decode(folder, kind):
    clips = ClipSet(folder, write(folder, kind=kind), "train")
    batch = clips.read([3, 1, 3, 0])
    for got, seed in zip(batch, (3, 1, 3, 0), strict=True):
        expected = np.empty(SHAPE, np.uint8)
        decode_clip(encode_clip(clip(seed), kind, 8), kind, expected)
        assert np.array_equal(got, expected)
    clips.close()


@pytest.mark.parametrize("kind", KINDS)
def test_clips_are_read_into_the_buffer_that_is_given(folder, kind):
    clips = ClipSet(folder, write(folder, kind=kind), "train")
    buffer = np.zeros((3, *SHAPE), np.uint8)
    assert clips.read([2, 4, 1], buffer) is buffer
    assert np.array_equal(buffer, clips.read([2, 4, 1]))
    clips.close()


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_read_at_once(folder, monkeypatch, kind):
    monkeypatch.setattr("vgan.data.loading.loader.OPEN_SHARDS", 2)
    monkeypatch.setattr("vgan.data.shards.writer.SHARD_BYTES", 1)
    clips = ClipSet(folder, write(folder, 8, kind=kind), "train")
    alone = clips.read(range(8))
    with ThreadPoolExecutor(8) as pool:
        for batch in pool.map(lambda _: clips.read(range(8)), range(40)):
            assert np.array_equal(batch, alone)
    clips.close()


def test_batches_that_were_read_ahead_are_those_of_their_steps(folder):
    clips = ClipSet(folder, write(folder, 7), "train")
    ahead = Prefetcher(clips, batch=3, seed=1)
    for step in (0, 1, 2, 3, 2, 3, 4, 40, 41, 0):
        assert np.array_equal(ahead.at(step), clips.read(batch_indices(7, 3, 1, step))), step
    ahead.close()


def test_reading_ahead_uses_its_few_buffers_and_leaves_the_callers_alone(folder):
    clips = ClipSet(folder, write(folder, 7), "train")
    buffers = [np.empty((3, *SHAPE), np.uint8) for _ in range(AHEAD + 1)]
    ahead = Prefetcher(clips, batch=3, seed=1, buffers=buffers)
    for step in range(10):
        batch = ahead.at(step)
        assert any(batch is buffer for buffer in buffers)
        before = batch.copy()
        ahead.close() if step == 9 else None
        assert np.array_equal(batch, before)


def test_what_goes_wrong_while_reading_ahead_is_raised_where_the_batch_is_asked_for(folder):
    dataset = write(folder, 7, kind="jpg")
    clips = ClipSet(folder, dataset, "train")
    (folder.shards / dataset.shards[0].file).write_bytes(b"")
    ahead = Prefetcher(clips, batch=3, seed=1)
    with pytest.raises(CorruptDataError, match=dataset.shards[0].file):
        ahead.at(0)
    ahead.close()
    clips.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read-ahead", "decode-clips"))]


def test_labels_come_from_the_records_of_the_batches(folder):
    dataset = write(folder, 3, labels=("a", "b", "c"))
    assert ClipSet(folder, dataset, "train").labels.tolist() == [2, 2, 2]
    (folder.batch(dataset.batches[0].record)).unlink()
    with pytest.raises(CorruptDataError, match="batches"):
        ClipSet(folder, dataset, "train")
