"""Datasets on a bucket, with two workspaces as two machines."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from made_version import video, write_dataset
from s3_server import free_port

from vgan.data.buckets import shard_copies
from vgan.data.buckets.published import Published, ensure_local
from vgan.data.manifest import current_version, verify_dataset
from vgan.errors import ConfigError, CorruptDataError, ResumableError, StorageError
from vgan.records import Dataset
from vgan.remote import _S3_OPTIONS, RemoteFolder
from vgan.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def as_another_process() -> Generator[None]:
    """A test's locks of versions in use end with it."""
    yield
    end_of_process()


def end_of_process() -> None:
    """Give up the locks of versions in use, as the end of a process does."""
    while shard_copies._in_use:
        os.close(shard_copies._in_use.popitem()[1])


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/data sets"


@pytest.fixture
def here(tmp_path: Path, url: str) -> Workspace:
    """The machine that ingests."""
    return Workspace(tmp_path / "here", url)


@pytest.fixture
def there(tmp_path: Path, url: str) -> Workspace:
    """Another machine."""
    return Workspace(tmp_path / "there", url)


def make(workspace: Workspace, *names: str, number: int = 1) -> Dataset:
    """A version of one batch with these videos, half of them held out."""
    videos = [video(name, split="heldout" if place % 2 else "train") for place, name in enumerate(names)]
    return write_dataset(workspace, [(videos, [])], number=number)


def publish(workspace: Workspace, dataset: Dataset) -> Published:
    published = Published(workspace, dataset.name)
    published.push_shards(dataset.shards)
    published.push_version(dataset)
    return published


def shard_names(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.dataset("made").shards.glob("*.tar")}


def objects(url: str) -> set[str]:
    return {file.path for file in RemoteFolder(url).files()}


def test_another_machine_loads_a_dataset_from_the_url_alone(here: Workspace, there: Workspace, url: str) -> None:
    dataset = make(here, "a", "b", "c", "d")
    publish(here, dataset)
    assert {path.split("/")[1] for path in objects(url)} == {"manifest.json", "versions", "batches", "shards"}
    published = Published(there, "made")
    assert published.pull()
    assert current_version(there.dataset("made")) == dataset
    assert shard_names(there) == set()
    ensure_local(there, dataset, "heldout")
    assert shard_names(there) == {shard.file for shard in dataset.shards if shard.split == "heldout"}
    ensure_local(there, dataset)
    assert verify_dataset(there, dataset) == []
    assert there.dataset("made").version(dataset.digest()).exists()
    assert not published.pull()


def test_publishing_again_sends_only_what_is_missing(
    here: Workspace, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make(here, "a", "b")
    published = publish(here, dataset)
    sent: list[str] = []
    for name in ("put", "put_bytes"):
        original = getattr(RemoteFolder, name)
        monkeypatch.setattr(
            RemoteFolder, name, lambda self, what, path, do=original: (sent.append(path), do(self, what, path))
        )
    published.push_shards(dataset.shards)
    published.push_version(dataset)
    assert sent == []
    lost = f"shards/{dataset.shards[0].file}"
    RemoteFolder(f"{url}/made").delete(lost)
    published.push_version(dataset)
    assert sent == [lost]


def test_a_shard_that_lies_nowhere_is_not_published(here: Workspace, url: str) -> None:
    dataset = make(here, "a", "b")
    (here.dataset("made").shards / dataset.shards[0].file).unlink()
    with pytest.raises(CorruptDataError, match=dataset.shards[0].file):
        Published(here, "made").push_version(dataset)
    assert not RemoteFolder(f"{url}/made").exists("manifest.json")


def test_a_damaged_shard_in_the_bucket_is_noticed(here: Workspace, there: Workspace, url: str) -> None:
    """FAULTS 37: a shard whose hash is not the manifest's is named and never used."""
    dataset = make(here, "a", "b")
    publish(here, dataset)
    remote, shard = RemoteFolder(f"{url}/made"), dataset.shards[0]
    whole = remote.read_bytes(f"shards/{shard.file}")
    assert whole
    Published(there, "made").pull()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    for content, problem in ((flipped, "sha256"), (whole[:-512], "bytes instead of"), (None, "not there")):
        if content is None:
            remote.delete(f"shards/{shard.file}")
        else:
            remote.put_bytes(content, f"shards/{shard.file}")
        with pytest.raises(CorruptDataError, match=f"{shard.file}.*{problem}"):
            ensure_local(there, dataset)
        assert shard.file not in shard_names(there)
        assert list(there.dataset("made").shards.glob(".tmp-*")) == []


def test_a_shard_damaged_on_the_way_is_fetched_again(
    here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make(here, "a", "b")
    publish(here, dataset)
    fetch, damaged = RemoteFolder.fetch, dataset.shards[0].file
    times: list[str] = []

    def flip_once(self: RemoteFolder, path: str, target: Path, *, limit: int | None = None) -> None:
        fetch(self, path, target, limit=limit)
        if damaged in path:
            times.append(path)
            if len(times) == 1:
                target.write_bytes(target.read_bytes()[:-1] + b"x")

    monkeypatch.setattr(RemoteFolder, "fetch", flip_once)
    ensure_local(there, dataset)
    assert len(times) == 2
    assert f"shard {damaged} came damaged" in caplog.text
    for shard in dataset.shards:
        path = there.dataset("made").shards / shard.file
        assert path.read_bytes() == (here.dataset("made").shards / shard.file).read_bytes()


def test_what_another_machine_published_is_never_overwritten(here: Workspace, there: Workspace) -> None:
    """FAULTS 41: of two machines that publish at once, one wins and the other is told."""
    published = publish(here, make(here, "a", "b"))
    other = Published(there, "made")
    other.pull()
    theirs = make(there, "a", "b", "c", number=2)
    publish(there, theirs)
    ours = make(here, "a", "b", "d", number=2)
    with pytest.raises(ResumableError, match="another machine has published"):
        published.push_version(ours)
    assert published.pull()
    assert current_version(here.dataset("made")) == theirs
    assert here.dataset("made").version(ours.digest()).exists()
    published.push_version(make(here, "a", "b", "c", "d", number=3))
    assert other.pull()


def test_a_local_version_is_not_undone_by_an_older_published_one(here: Workspace) -> None:
    published = publish(here, make(here, "a", "b"))
    ours = make(here, "a", "b", "c", number=2)  # committed here, not yet published
    assert not published.pull()
    assert current_version(here.dataset("made")) == ours


def test_a_dataset_of_the_same_name_that_was_never_published_stays(here: Workspace, there: Workspace) -> None:
    publish(here, make(here, "a", "b"))
    own = make(there, "x", "y")
    with pytest.raises(ConfigError, match="never published"):
        Published(there, "made").pull()
    with pytest.raises(ResumableError, match="another machine"):
        Published(there, "made").push_version(own)
    assert current_version(there.dataset("made")) == own


def test_nothing_published_is_nothing_to_pull(here: Workspace) -> None:
    own = make(here, "a", "b")
    assert not Published(here, "made").pull()
    assert current_version(here.dataset("made")) == own


def test_killed_before_the_manifest_the_old_version_stays_published(here: Workspace, there: Workspace) -> None:
    """FAULTS 2: what no published manifest names does not exist, and the same call finishes the work."""
    first = make(here, "a", "b")
    publish(here, first)
    second = make(here, "a", "b", "c", number=2)
    code = (
        "import sys; from vgan.workspace import Workspace; from vgan.data.buckets.published import Published\n"
        "from vgan.data.manifest import current_version\n"
        "workspace = Workspace.open(sys.argv[1])\n"
        "Published(workspace, 'made').push_version(current_version(workspace.dataset('made')))"
    )
    environment = {**os.environ, "VGAN_DATASETS": str(here.published), "VGAN_FAULT": "before_published_manifest"}
    command = [sys.executable, "-c", code, str(here.root)]
    child = subprocess.run(command, check=False, cwd=ROOT, env=environment, timeout=60)
    assert child.returncode == -signal.SIGKILL
    Published(there, "made").pull()
    assert current_version(there.dataset("made")) == first
    Published(here, "made").push_version(second)
    assert Published(there, "made").pull()
    assert current_version(there.dataset("made")) == second


def test_an_earlier_version_is_pulled_by_its_digest(here: Workspace, there: Workspace) -> None:
    first = make(here, "a", "b")
    publish(here, first)
    publish(here, make(here, "a", "b", "c", number=2))
    published = Published(there, "made")
    assert published.pull_version(first.digest())
    assert not there.dataset("made").manifest.exists()
    ensure_local(there, first)
    assert verify_dataset(there, first) == []
    assert not published.pull_version("0" * 64)
    assert not published.pull_version("../manifest")


def publish_two(here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Dataset]:
    """Two versions without a common shard, known `there`, where the copies of only one have room."""
    first, second = make(here, "a", "b"), make(here, "c", "d", number=2)
    publish(here, first)
    publish(here, second)
    published = Published(there, "made")
    published.pull_version(first.digest())
    published.pull()
    size = sum(shard.size_bytes for shard in second.shards)
    monkeypatch.setenv("VGAN_CACHE_GB", f"{size * 1.5 / 1e9:.9f}")
    return first, second


def test_the_copies_of_other_versions_make_room(
    here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = publish_two(here, there, monkeypatch)
    ensure_local(there, first)
    own = there.dataset("made").shards / "train-0123456789abcdef.tar"
    own.write_bytes(b"not published")
    os.utime(own, (0, 0))
    end_of_process()
    ensure_local(there, second)
    assert shard_names(there) == {shard.file for shard in second.shards} | {own.name}
    end_of_process()
    ensure_local(there, first, "train")  # back again from the bucket
    assert {shard.file for shard in first.shards if shard.split == "train"} <= shard_names(there)


def test_a_version_that_a_process_reads_keeps_its_shards(
    here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = publish_two(here, there, monkeypatch)
    code = (
        "import sys; from vgan.workspace import Workspace; from vgan.data.buckets.published import ensure_local\n"
        "from vgan.data.manifest import load_dataset\n"
        "workspace = Workspace.open(sys.argv[1])\n"
        "ensure_local(workspace, load_dataset(workspace, 'made', sys.argv[2]))\n"
        "print('reading', flush=True); sys.stdin.read()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(there.root), first.digest()],
        cwd=ROOT,
        env={**os.environ, "VGAN_DATASETS": str(there.published)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with reader:
        assert reader.stdout
        assert reader.stdout.readline() == b"reading\n"
        ensure_local(there, second)
        assert shard_names(there) == {shard.file for shard in (*first.shards, *second.shards)}
        assert "exceed VGAN_CACHE_GB" in caplog.text
        reader.communicate()
    end_of_process()
    ensure_local(there, second)
    Published(there, "made").copies.trim()
    assert {shard.file for shard in second.shards} < shard_names(there)
    assert len(shard_names(there)) == 3  # one went, which was enough


def test_a_version_beyond_the_cap_is_refused_with_the_figures(
    here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make(here, "a", "b")
    publish(here, dataset)
    monkeypatch.setenv("VGAN_CACHE_GB", "0.00001")
    with pytest.raises(ConfigError, match=r"needs 0\.000 GB .* VGAN_CACHE_GB allows 0\.000 GB") as caught:
        ensure_local(there, dataset)
    assert "VGAN_CACHE_GB=1" in caught.value.hint
    assert shard_names(there) == set()


def test_publishing_leaves_no_more_than_the_cap_here(
    here: Workspace, there: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make(here, "a", "b")
    monkeypatch.setenv("VGAN_CACHE_GB", f"{dataset.shards[0].size_bytes * 1.5 / 1e9:.9f}")
    published = publish(here, dataset)
    assert len(shard_names(here)) == 1
    evicted = {shard.file for shard in dataset.shards} - shard_names(here)
    assert evicted <= published.stored(dataset.shards)
    assert published.stored(()) == set()


@pytest.mark.parametrize("field", ["file", "record", "name"])
def test_names_in_a_published_manifest_lead_nowhere_else(
    here: Workspace, there: Workspace, url: str, field: str
) -> None:
    """FAULTS 38: a manifest from a bucket names files of its dataset only."""
    dataset = make(here, "a", "b")
    publish(here, dataset)
    plain = json.loads(dataset.to_json())
    if field == "file":
        plain["batches"][0]["shards"][0]["file"] = "pipe:touch marker"
    elif field == "record":
        plain["batches"][0]["record"] = "../../../marker"
    else:
        plain["name"] = "other"
    RemoteFolder(f"{url}/made").put_bytes(json.dumps(plain).encode(), "manifest.json")
    with pytest.raises(CorruptDataError, match="names nothing of this dataset"):
        Published(there, "made").pull()
    assert not there.dataset("made").manifest.exists()


def test_a_damaged_record_in_the_bucket_is_refused(here: Workspace, there: Workspace, url: str) -> None:
    dataset = make(here, "a", "b")
    publish(here, dataset)
    remote, record = RemoteFolder(f"{url}/made"), f"batches/{dataset.batches[0].record}.json"
    remote.put_bytes(b"{}", record)
    with pytest.raises(CorruptDataError, match=f"{record} is damaged"):
        Published(there, "made").pull()
    remote.delete(record)
    with pytest.raises(CorruptDataError, match=f"{record} is missing"):
        Published(there, "made").pull()
    remote.put_bytes(b"{", "manifest.json")
    with pytest.raises(CorruptDataError, match=r"manifest\.json is not a Dataset record"):
        Published(there, "made").pull()
    assert not there.dataset("made").manifest.exists()


def test_with_the_endpoint_down_another_try_may_help(there: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)  # else it tries for six seconds
    monkeypatch.setitem(_S3_OPTIONS, "config_kwargs", {"retries": {"max_attempts": 0}})
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError) as caught:
        Published(there, "made").pull()
    assert caught.value.retryable


def test_the_environment_says_where_datasets_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGAN_DATASETS", "s3://bucket/datasets/")
    assert Workspace.open(tmp_path).published == "s3://bucket/datasets"
    monkeypatch.setenv("VGAN_DATASETS", "")
    assert Workspace.open(tmp_path).published is None
    for wrong in ("/folder", "pipe:touch marker", "s3://user:canary@bucket"):
        monkeypatch.setenv("VGAN_DATASETS", wrong)
        with pytest.raises(ConfigError, match="VGAN_DATASETS") as caught:
            Workspace.open(tmp_path)
        assert "canary" not in str(caught.value)


def test_no_secret_is_written_beside_the_data(here: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 45: the key by which a bucket was opened is in no file and no log."""
    caplog.set_level(logging.INFO)
    publish(here, make(here, "a", "b"))
    written = [path for path in here.root.rglob("*") if path.is_file()]
    assert here.dataset("made").published in written
    assert not [path for path in written if b"canary" in path.read_bytes()]
    assert "canary" not in caplog.text
