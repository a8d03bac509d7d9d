import gc
import io
import os
import tarfile

import numpy as np
import pytest

from vgan.config import IngestConfig
from vgan.data.ingest import ingest
from vgan.data.loader import ClipSet, batch_indices, epoch_order, index_shard, keys_digest
from vgan.data.manifest import load_dataset
from vgan.data.shards import Sample, write_shards
from vgan.errors import CorruptDataError
from vgan.records import Batch, Dataset, Video
from vgan.workspace import DatasetFolder

CONFIG = IngestConfig(frames=2, height=16, width=16)
SHAPE = (3, 2, 16, 16)


def clip(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


def key(number):
    return f"{'ab' * 8}-{number:05d}"


def dataset_of(shards, labels=()):
    video = Video(
        digest_sha256="ab" * 32, paths=("v.mp4",), copies=(), size_bytes=1, content="c", group="c", split="train",
        label=labels[-1] if labels else None, codec="h264", width=16, height=16, fps=8, seconds=1, frames_decoded=8,
        decode_errors=0, clips=5, windows_cut=0,
    )  # fmt: skip
    batch = Batch(key="k", videos=(video,), rejections=(), shards=tuple(shards))
    return Dataset(name="d", config=CONFIG, labels=labels, batches=(batch,))


@pytest.fixture
def folder(tmp_path):
    return DatasetFolder(tmp_path)


def write(folder, num=5):
    return write_shards(folder.shards, "train", [Sample(key(n), clip(n), {"label": "b"}) for n in range(num)])


def test_every_clip_is_read_as_it_was_written(folder):
    clips = ClipSet(folder, dataset_of(write(folder), labels=("a", "b")), "train")
    assert len(clips) == 5 and clips.shape_CTHW == SHAPE
    assert clips.keys == [key(n) for n in range(5)]
    assert clips.labels.tolist() == [1] * 5
    batch = clips.read(np.asarray([4, 0, 4]))
    assert all(np.array_equal(got, clip(seed)) for got, seed in zip(batch, (4, 0, 4), strict=True))
    clips.close()
    assert np.array_equal(clips.read([2])[0], clip(2)), "it opens again"
    assert len(ClipSet(folder, dataset_of(write(folder)), "heldout")) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the garbage collector
def test_webdataset_reads_the_same_shards(workspace, shapes_videos):
    import webdataset

    config = IngestConfig(frames=8, height=16, width=16, labels="folder")
    ingest(workspace, shapes_videos, "shapes", config)
    dataset = load_dataset(workspace, "shapes")
    clips = ClipSet(workspace.dataset("shapes"), dataset, "train")
    urls = [str(workspace.dataset("shapes").shards / shard.file) for shard in dataset.shards if shard.split == "train"]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == clips.keys
    gc.collect()
    for index, sample in enumerate(samples):
        assert np.array_equal(sample["npy"], clips.read([index])[0])
        assert dataset.labels[clips.labels[index]] == sample["json"]["label"]
        assert sample["json"]["source"].endswith(".mp4")


def test_many_shards_are_read_with_few_open_files(folder, monkeypatch):
    monkeypatch.setattr("vgan.data.loader.OPEN_SHARDS", 2)
    monkeypatch.setattr("vgan.data.shards.SHARD_BYTES", 1)
    shards = write(folder, 6)
    assert len(shards) == 6
    clips = ClipSet(folder, dataset_of(shards), "train")
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


def tar_with(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content, change in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in change.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)


PIXELS = b"\x93NUMPY" + bytes(100)


@pytest.mark.parametrize(
    "members",
    [
        [("../../etc/x.npy", PIXELS, {})],
        [("/abs/0123456789abcdef-00000.npy", PIXELS, {})],
        [(f"{key(0)}.pkl", PIXELS, {})],
        [(f"{key(0)}.pyd", PIXELS, {})],
        [(f"{key(0)}.npy\n", PIXELS, {})],
        [(f"{key(0)}.json", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), (f"{key(0)}.npy", PIXELS, {})],
        [(f"{key(0)}.json", b"", {"type": tarfile.LNKTYPE, "linkname": "x"}), (f"{key(0)}.npy", PIXELS, {})],
        [(f"{key(0)}.json", b"", {"type": tarfile.FIFOTYPE}), (f"{key(0)}.npy", PIXELS, {})],
        [(f"{key(0)}.json", b"{}", {}), (f"{key(0)}.npy", PIXELS, {})] * 2,
        [(f"{key(0)}.json", b"{}", {}), (f"{key(1)}.npy", PIXELS, {})],
        [(f"{key(0)}.json", b"{}", {})],
        [(f"{key(0)}.json", b" " * (1 << 20 | 1), {}), (f"{key(0)}.npy", PIXELS, {})],
    ],
)
def test_a_hostile_tar_is_refused(folder, members):
    path = folder.shards / "train-x.tar"
    tar_with(path, members)
    with pytest.raises(CorruptDataError, match=r"train-x\.tar"):
        index_shard(path)


def test_a_size_beyond_the_file_is_refused(folder):
    path = folder.shards / "x.tar"
    tar_with(path, [(f"{key(0)}.json", b"{}", {}), (f"{key(0)}.npy", PIXELS, {})])
    content = bytearray(path.read_bytes())
    info = tarfile.TarInfo(f"{key(0)}.npy")
    info.size = (8 << 30) - 512
    content[1024:1536] = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match="ends inside"):
        index_shard(path)


def test_damage_that_other_readers_pass_over_is_found(folder):
    (shard,) = write(folder)
    path = folder.shards / shard.file
    whole = path.read_bytes()
    member = 512 + 512 + 512 + (-(-(128 + 1536) // 512)) * 512
    damages = {
        "cut at a sample": whole[: 2 * member],
        "cut between the members": whole[: 2 * member + 1024],
        "cut inside pixels": whole[: 2 * member + 1600],
        "cut inside a header": whole[: 2 * member + 100],
        "header of the third sample zeroed": whole[: 2 * member] + bytes(512) + whole[2 * member + 512 :],
        "a bit of a header flipped": whole[: 2 * member + 3]
        + bytes([whole[2 * member + 3] ^ 1])
        + whole[2 * member + 4 :],
        "another shard's end": whole[: 2 * member] + bytes(10240),
    }
    for name, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(CorruptDataError):
            ClipSet(folder, dataset_of([shard]), "train")
            pytest.fail(name)


@pytest.mark.parametrize("array", [np.zeros(SHAPE, np.float32), np.zeros((3, 2, 16, 32), np.uint8), np.zeros(SHAPE).T])
def test_other_arrays_than_the_config_says_are_refused(folder, array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    name = "train-1.tar"
    tar_with(folder.shards / name, [(f"{key(0)}.json", b"{}", {}), (f"{key(0)}.npy", buffer.getvalue(), {})])
    (shard,) = write(folder, 1)
    record = shard.model_copy(update={"file": name, "keys_sha256": keys_digest([key(0)])})
    with pytest.raises(CorruptDataError, match="uint8"):
        ClipSet(folder, dataset_of([record]), "train")


def test_a_pickled_array_is_never_loaded(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    buffer = io.BytesIO()
    np.save(buffer, np.asarray([Trap()], object), allow_pickle=True)
    tar_with(folder.shards / "train-1.tar", [(f"{key(0)}.json", b"{}", {}), (f"{key(0)}.npy", buffer.getvalue(), {})])
    (shard,) = write(folder, 1)
    with pytest.raises(CorruptDataError):
        ClipSet(folder, dataset_of([shard.model_copy(update={"file": "train-1.tar"})]), "train")
    assert not (tmp_path / "touched").exists()


def test_a_missing_shard_is_named(folder):
    (shard,) = write(folder)
    (folder.shards / shard.file).unlink()
    with pytest.raises(CorruptDataError, match=shard.file):
        ClipSet(folder, dataset_of([shard]), "train")
