import hashlib
import os
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from vgan.data.shards.formats import encode_clip
from vgan.data.shards.writer import Sample, write_shards
from vgan.errors import StorageError


def samples(num=4):
    for number in range(num):
        payload = encode_clip(np.full((3, 2, 16, 16), number, np.uint8), "npy", 8)
        yield Sample(f"{'0' * 16}-{number:05d}", "npy", payload, {"label": "ab"[number % 2], "z": 1, "a": "é"})


def test_a_shard_is_named_by_its_bytes_and_written_the_same_later(tmp_path):
    (shard,) = write_shards(tmp_path, "train", samples())
    content = (tmp_path / shard.file).read_bytes()
    assert shard.sha256 == hashlib.sha256(content).hexdigest()
    assert shard.file == f"train-{shard.sha256[:16]}.tar"
    assert (shard.size_bytes, shard.samples, shard.labels) == (len(content), 4, {"a": 2, "b": 2})
    time.sleep(0.01)
    assert write_shards(tmp_path / "again", "train", samples()) == [shard]
    assert (tmp_path / "again" / shard.file).read_bytes() == content


def test_members_carry_no_trace_of_time_or_user(tmp_path):
    (shard,) = write_shards(tmp_path, "train", samples())
    with tarfile.open(tmp_path / shard.file) as tar:
        members = tar.getmembers()
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "vgan")}
    assert [member.name.rpartition(".")[2] for member in members] == ["json", "npy"] * 4


def test_a_large_split_goes_into_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("vgan.data.shards.writer.SHARD_BYTES", 2 * (128 + 3 * 2 * 16 * 16))
    shards = write_shards(tmp_path, "heldout", samples(5))
    assert [shard.samples for shard in shards] == [2, 2, 1]
    assert write_shards(tmp_path, "heldout", iter(())) == []


def test_an_exception_in_the_middle_leaves_nothing(tmp_path):
    def failing():
        yield from samples(2)
        raise KeyError

    with pytest.raises(KeyError):
        write_shards(tmp_path, "train", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_shard_under_a_final_name(tmp_path):
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from test_shards import samples\nfrom vgan.data.shards.writer import write_shards\n"
        "write_shards(pathlib.Path(sys.argv[1]), 'train', samples())"
    )
    for fault in ("mid_shard", "before_rename"):
        folder = tmp_path / fault
        environment = {**os.environ, "VGAN_FAULT": fault}
        here = os.path.dirname(__file__)  # noqa: PTH120
        done = subprocess.run([sys.executable, "-c", code, folder, here], env=environment, check=False)
        assert done.returncode == -9
        assert [path.name[:5] for path in folder.iterdir()] == [".tmp-"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    import builtins

    def open_full(path, mode="r", *arguments, **options):
        return (
            real_open("/dev/full", "wb", buffering=0) if mode == "xb" else real_open(path, mode, *arguments, **options)
        )

    real_open = builtins.open
    monkeypatch.setattr(builtins, "open", open_full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_shards(tmp_path, "train", samples())
    assert caught.value.exit_code == 74 and "Free some space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
