"""Shards and manifests that somebody has damaged, swapped or written to do harm: FAULTS rows 36, 37 and 38."""

import io
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from made_records import commit_batches, keep_batch, made_video

from vgan.config import IngestConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset, verify_dataset, write_version
from vgan.data.shards.formats import KINDS, encode_clip
from vgan.data.shards.tar_index import index_shard, keys_digest
from vgan.data.shards.writer import Sample
from vgan.errors import CorruptDataError
from vgan.storage import sha256_file

SHAPE = (3, 4, 16, 16)
BLOCK = 512


def key(number):
    return f"{'ab' * 8}-{number:05d}"


def payload(seed, kind="npy"):
    return encode_clip(np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8), kind, 8)


def write_version_of(workspace, *, shards=1, kind="npy"):
    """A committed version `d` whose shards hold 5 clips of one video each."""
    folder = workspace.dataset("d")
    references = []
    for number in range(shards):
        digest = f"{number:02x}" * 32
        samples = [
            Sample(f"{digest[:16]}-{n:05d}", kind, payload(10 * number + n, kind), {"label": None}) for n in range(5)
        ]
        references.append(keep_batch(folder, f"{number}", [made_video(digest)], {"train": samples}))
    config = IngestConfig(frames=4, height=16, width=16, format=kind)
    return commit_batches(folder, config, (), references)


def tar_with(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content, change in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in change.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)


def take_place(workspace, dataset, path):
    """Give a tar to the dataset as its only shard, with a record that is true of it: the worst manifest there is."""
    (shard,) = dataset.shards
    changed = shard.model_copy(
        update={
            "file": path.name,
            "size_bytes": path.stat().st_size,
            "sha256": sha256_file(path),
            "samples": 1,
            "keys_sha256": keys_digest([key(0)]),
        }
    )
    batch = dataset.batches[0].model_copy(update={"shards": (changed,)})
    return dataset.model_copy(update={"batches": (batch,)})


PIXELS = payload(0)
ABOUT = (f"{key(0)}.json", b"{}", {})
CLIP = (f"{key(0)}.npy", PIXELS, {})
HOSTILE = {
    "a way out": [("../../etc/x.npy", PIXELS, {})],
    "a way out behind a key": [ABOUT, (f"{key(0)}.npy/../../x.npy", PIXELS, {})],
    "an absolute name": [("/abs/0123456789abcdef-00000.npy", PIXELS, {})],
    "a pickle": [ABOUT, (f"{key(0)}.pkl", PIXELS, {})],
    "a pickle by webdataset's other name": [ABOUT, (f"{key(0)}.pyd", PIXELS, {})],
    "a torch file": [ABOUT, (f"{key(0)}.pth", PIXELS, {})],
    "a line break": [ABOUT, (f"{key(0)}.npy\n", PIXELS, {})],
    "a symbolic link": [(f"{key(0)}.json", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), CLIP],
    "a hard link": [(f"{key(0)}.json", b"", {"type": tarfile.LNKTYPE, "linkname": "x"}), CLIP],
    "a pipe": [(f"{key(0)}.json", b"", {"type": tarfile.FIFOTYPE}), CLIP],
    "a character device": [(f"{key(0)}.json", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}), CLIP],
    "a block device": [(f"{key(0)}.json", b"", {"type": tarfile.BLKTYPE}), CLIP],
    "a folder": [(f"{key(0)}.json", b"", {"type": tarfile.DIRTYPE}), CLIP],
    "a sparse file": [ABOUT, (f"{key(0)}.npy", PIXELS, {"type": tarfile.GNUTYPE_SPARSE})],
    "an extended header": [
        (f"{key(0)}.json", b"30 path=../../../etc/passwd\n", {"type": tarfile.XHDTYPE}),
        ABOUT,
        CLIP,
    ],
    "a long name": [("././@LongLink", b"../../x.npy\0", {"type": tarfile.GNUTYPE_LONGNAME}), ABOUT, CLIP],
    "a key twice": [ABOUT, CLIP] * 2,
    "pixels of another key": [ABOUT, (f"{key(1)}.npy", PIXELS, {})],
    "two kinds of pixels": [ABOUT, CLIP, (f"{key(1)}.json", b"{}", {}), (f"{key(1)}.jpg", PIXELS, {})],
    "no pixels": [ABOUT],
    "a description that is too large": [(f"{key(0)}.json", b" " * (1 << 20 | 1), {}), CLIP],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tar_with_anything_but_pairs_of_plain_members_is_refused(workspace, name):
    """FAULTS 36: a shard with any member that is no regular file of the one known pattern is refused as a whole."""
    path = workspace.dataset("d").shards / "train-x.tar"
    tar_with(path, HOSTILE[name])
    with pytest.raises(CorruptDataError, match=r"train-x\.tar"):
        index_shard(path)


@pytest.mark.parametrize("size", [(8 << 30) - 1, 1 << 40, -1])
def test_a_size_that_the_file_does_not_have_is_refused_without_reading(workspace, size):
    """FAULTS 36: 8 GB claimed by a header, or the 1 TB of GNU's binary sizes, is neither read nor allocated."""
    path = workspace.dataset("d").shards / "x.tar"
    tar_with(path, [ABOUT, CLIP])
    content = bytearray(path.read_bytes())
    info = tarfile.TarInfo(f"{key(0)}.npy")
    info.size = size
    content[2 * BLOCK : 3 * BLOCK] = info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match=r"ends inside|claims|damaged"):
        index_shard(path)


def test_a_compressed_clip_that_is_larger_than_its_pixels_is_refused(workspace):
    """FAULTS 36: the size of a member is bounded by what the version's clips can have."""
    dataset = write_version_of(workspace, kind="jpg")
    path = workspace.dataset("d").shards / "train-x.tar"
    tar_with(path, [ABOUT, (f"{key(0)}.jpg", payload(0, "jpg") + bytes(1 << 17), {})])
    with pytest.raises(CorruptDataError, match=r"train-x\.tar"):
        ClipSet(workspace.dataset("d"), take_place(workspace, dataset, path), "train")


@pytest.mark.parametrize(
    "array", [np.zeros(SHAPE, np.float32), np.zeros((3, 4, 16, 32), np.uint8), np.zeros(SHAPE, np.uint8).T]
)
def test_other_arrays_than_the_config_says_are_refused(workspace, array):
    """FAULTS 36: neither another type, nor another shape, nor another order of axes."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    dataset = write_version_of(workspace)
    path = workspace.dataset("d").shards / "train-x.tar"
    tar_with(path, [ABOUT, (f"{key(0)}.npy", buffer.getvalue(), {})])
    with pytest.raises(CorruptDataError, match="uint8"):
        ClipSet(workspace.dataset("d"), take_place(workspace, dataset, path), "train")


def damages(whole, other):
    member = 2 * BLOCK + BLOCK + -(-len(PIXELS) // BLOCK) * BLOCK  # of a .json and a .npy with their headers
    third = 2 * member  # where the third sample begins

    def flipped(place):
        return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]

    return {
        "cut at a sample": whole[:third],
        "cut between the members": whole[: third + 2 * BLOCK],
        "cut inside pixels": whole[: third + 3 * BLOCK + 100],
        "cut inside a header": whole[: third + 100],
        "cut before its end": whole[: -(len(whole) % tarfile.RECORDSIZE or tarfile.RECORDSIZE)],
        "the third sample's header zeroed": whole[:third] + bytes(BLOCK) + whole[third + BLOCK :],
        "a bit of a header flipped": flipped(third + 3),
        "a bit of the pixels flipped": flipped(third + 3 * BLOCK + 1000),
        "ended early": whole[:third] + bytes(len(whole) - third),
        "swapped with another": other,
        "emptied": b"",
    }


@pytest.fixture
def two_shards(workspace):
    dataset = write_version_of(workspace, shards=2)
    first, second = (workspace.dataset("d").shards / shard.file for shard in dataset.shards)
    return dataset, first, first.read_bytes(), second.read_bytes()


@pytest.mark.parametrize("damage", damages(bytes(30 * BLOCK), b""))
def test_damage_is_found_before_anything_is_read_and_names_the_shard(workspace, two_shards, damage):
    """FAULTS 37: sha256, size and keys are compared when a split is opened, which is before training starts."""
    dataset, path, whole, other = two_shards
    assert len(ClipSet(workspace.dataset("d"), dataset, "train")) == 10
    path.write_bytes(damages(whole, other)[damage])
    with pytest.raises(CorruptDataError, match=path.name) as caught:
        ClipSet(workspace.dataset("d"), dataset, "train")
    assert caught.value.exit_code == 76


@pytest.mark.parametrize("damage", [name for name in damages(bytes(30 * BLOCK), b"") if "pixels flipped" not in name])
def test_damage_to_its_structure_is_found_without_hashing(workspace, two_shards, damage):
    """FAULTS 37: what webdataset passes over in silence, the index alone finds, whatever its length."""
    dataset, path, whole, other = two_shards
    path.write_bytes(damages(whole, other)[damage])
    shards = [
        shard.model_copy(update={"size_bytes": path.stat().st_size}) if shard.file == path.name else shard
        for shard in dataset.shards
    ]
    batches = [
        batch.model_copy(update={"shards": (shard,)}) for batch, shard in zip(dataset.batches, shards, strict=True)
    ]
    with pytest.raises(CorruptDataError, match=path.name):
        ClipSet(workspace.dataset("d"), dataset.model_copy(update={"batches": tuple(batches)}), "train", check=False)


@pytest.mark.parametrize("damage", damages(bytes(30 * BLOCK), b""))
def test_verify_finds_the_damage(workspace, two_shards, damage):
    """FAULTS 37: `vgan verify` says which shard is damaged, and says nothing of the sound one."""
    dataset, path, whole, other = two_shards
    assert verify_dataset(workspace, dataset) == []
    path.write_bytes(damages(whole, other)[damage])
    (problem,) = verify_dataset(workspace, dataset)
    assert path.name in problem


def test_a_lost_shard_is_named(workspace):
    """FAULTS 37: a shard that is not there is named, by the reader and by `vgan verify`."""
    dataset = write_version_of(workspace)
    path = workspace.dataset("d").shards / dataset.shards[0].file
    path.unlink()
    with pytest.raises(CorruptDataError, match=f"{path.name} is missing"):
        ClipSet(workspace.dataset("d"), dataset, "train")
    assert path.name in verify_dataset(workspace, dataset)[0]


def test_training_stops_with_76_before_its_first_step(workspace):
    """FAULTS 37: the process that trains ends with exit code 76 and the shard's name, and has made no checkpoint."""
    dataset = write_version_of(workspace)
    path = workspace.dataset("d").shards / dataset.shards[0].file
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    code = (
        "import sys\nfrom vgan.config import TrainConfig\nfrom vgan.errors import VganError\n"
        "from vgan.training.process import train\nfrom vgan.workspace import Workspace\n"
        "try:\n    train(Workspace.open(sys.argv[1]), 'd', TrainConfig(budget='0.1kclips', threads=1, device='cpu'))\n"
        "except VganError as error:\n    print(error)\n    sys.exit(error.exit_code)"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 76 and path.name in done.stdout, done.stderr
    assert not list(workspace.root.glob("runs/*/checkpoints/*"))


@pytest.mark.parametrize(
    "name",
    ["pipe:touch marker", "pipe:touch marker|", "http://127.0.0.1:9/x.tar", "file:///etc/passwd", "../x.tar", "/x.tar",
     "", "..", "s3://bucket/x.tar"],
)  # fmt: skip
def test_a_manifest_that_names_a_command_or_an_address_is_refused_before_opening(workspace, name, monkeypatch):
    """FAULTS 38: a shard is a file of the dataset's own folder; webdataset would have run `pipe:`."""
    monkeypatch.chdir(workspace.root)
    dataset = write_version_of(workspace)
    shard = dataset.shards[0].model_copy(update={"file": name})
    batch = dataset.batches[0].model_copy(update={"shards": (shard,)})
    write_version(workspace.dataset("d"), dataset.model_copy(update={"batches": (batch,)}))
    changed = load_dataset(workspace, "d")
    before = sorted(os.walk(workspace.root))
    with pytest.raises(CorruptDataError):
        ClipSet(workspace.dataset("d"), changed, "train")
    assert "missing" in verify_dataset(workspace, changed)[0]
    assert sorted(os.walk(workspace.root)) == before


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_in_a_shard_is_never_loaded(workspace, tmp_path, kind):
    """FAULTS 38: not as a member of its own, nor as an array of objects, under whatever name."""
    trap = io.BytesIO()
    np.save(trap, np.asarray([Trap(tmp_path / "touched")], object), allow_pickle=True)
    padded = trap.getvalue().ljust(len(PIXELS), b"\0")
    dataset = write_version_of(workspace, kind=kind)
    for suffix in (kind, "pyd", "pickle"):
        path = workspace.dataset("d").shards / f"train-{suffix}.tar"
        tar_with(path, [ABOUT, (f"{key(0)}.{suffix}", padded, {})])
        with pytest.raises(CorruptDataError):
            ClipSet(workspace.dataset("d"), take_place(workspace, dataset, path), "train").read([0])
    assert not (tmp_path / "touched").exists()
