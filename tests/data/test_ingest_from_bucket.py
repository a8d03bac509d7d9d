"""Ingest from a bucket into datasets on a bucket, with two workspaces as two machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import free_port

from vgan.config import IngestConfig
from vgan.data.batches.locate import locator
from vgan.data.decoding.taken import Refused
from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.planning.plan import Source
from vgan.errors import BadInputError, ConfigError, StorageError
from vgan.remote import _S3_OPTIONS, RemoteFolder
from vgan.workspace import Workspace

CONFIG = IngestConfig(frames=8, fps=16.0, height=16, width=16, labels="folder", videos_per_batch=5, workers=2)


@pytest.fixture
def videos(bucket: str, shapes_videos: Path) -> str:
    """URL of the shapes videos, under names that no URL would hold unescaped."""
    folder = RemoteFolder(f"{bucket}/my videos")
    for path in shapes_videos.rglob("*.mp4"):
        folder.put(path, f"{path.parent.name}/{path.stem} ü%20+.mp4")
    return folder.url


def shards(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.dataset("shapes").shards.glob("*.tar")}


def test_a_bucket_gives_the_same_clips_as_a_folder(
    videos: str, shapes_videos: Path, workspace: Workspace, tmp_path: Path
) -> None:
    local = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    elsewhere = Workspace.open(tmp_path / "elsewhere")
    remote = ingest(elsewhere, videos, "shapes", CONFIG)
    assert (remote.videos_accepted, remote.videos_rejected) == (12, 0)
    assert (remote.clips_train, remote.clips_heldout) == (local.clips_train, local.clips_heldout)
    again = ingest(elsewhere, videos, "shapes", CONFIG)
    assert again.unchanged
    assert (again.videos_unchanged, again.frames_decoded) == (12, 0)


def test_another_machine_goes_on_where_the_first_ended(
    videos: str, bucket: str, lavfi: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATASETS", f"{bucket}/datasets")
    first, second = Workspace.open(tmp_path / "first"), Workspace.open(tmp_path / "second")
    made = ingest(first, videos, "shapes", CONFIG)
    dataset = load_dataset(second, "shapes")
    assert dataset.digest() == made.dataset_digest
    assert verify_dataset(second, dataset) == []
    # What is only published is not made again, and what has to change is changed without decoding.
    for file in shards(first):
        (first.dataset("shapes").shards / file).unlink()
    idle = ingest(first, videos, "shapes", CONFIG)
    assert idle.unchanged
    assert idle.frames_decoded == 0
    assert shards(first) == set()
    gone = min(file.path for file in RemoteFolder(videos).files())
    RemoteFolder(videos).delete(gone)
    smaller = ingest(first, videos, "shapes", CONFIG)
    assert (smaller.videos_dropped, smaller.frames_decoded, smaller.number) == (1, 0, 2)
    newest = load_dataset(second, "shapes")
    assert newest.digest() == smaller.dataset_digest
    assert verify_dataset(second, newest) == []
    assert load_dataset(second, "shapes", made.dataset_digest) == dataset
    # And the other way round: the second one ingests, the first one sees it.
    new = lavfi(tmp_path / "new.mp4", "testsrc2=size=64x48:rate=16:duration=2")
    RemoteFolder(videos).put(new, "up/new.mp4")
    larger = ingest(second, videos, "shapes", CONFIG)
    assert larger.number == 3
    assert load_dataset(first, "shapes").digest() == larger.dataset_digest


def test_an_upload_that_failed_is_finished_by_the_next_ingest(
    videos: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_DATASETS", f"{bucket}/datasets")
    workspace = Workspace.open(tmp_path / "workspace")
    put_bytes = RemoteFolder.put_bytes

    def refuse_manifest(self: RemoteFolder, content: bytes, path: str) -> None:
        if path == "manifest.json":
            raise StorageError("the network has gone")
        put_bytes(self, content, path)

    monkeypatch.setattr(RemoteFolder, "put_bytes", refuse_manifest)
    with pytest.raises(StorageError, match="the network has gone"):
        ingest(workspace, videos, "shapes", CONFIG)
    with pytest.raises(ConfigError, match="no dataset"):
        load_dataset(Workspace.open(tmp_path / "other"), "shapes")
    monkeypatch.setattr(RemoteFolder, "put_bytes", put_bytes)
    report = ingest(workspace, videos, "shapes", CONFIG)
    assert report.frames_decoded == 0
    assert load_dataset(Workspace.open(tmp_path / "other"), "shapes").digest() == report.dataset_digest


def test_a_dataset_from_before_is_published_by_the_next_ingest(
    shapes_videos: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(Workspace.open(tmp_path / "workspace"), str(shapes_videos), "shapes", CONFIG)
    monkeypatch.setenv("VGAN_DATASETS", bucket)
    assert ingest(Workspace.open(tmp_path / "workspace"), str(shapes_videos), "shapes", CONFIG).unchanged
    other = Workspace.open(tmp_path / "other")
    assert verify_dataset(other, load_dataset(other, "shapes")) == []


def test_videos_larger_than_the_cache_are_ingested_all_the_same(
    videos: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGAN_CACHE_GB", "0.000001")
    assert ingest(workspace, videos, "shapes", CONFIG).videos_accepted == 12
    assert list((workspace.root / "cache" / "videos").iterdir()) == []


def test_a_bucket_without_videos_or_a_missing_one_says_so(bucket: str, workspace: Workspace) -> None:
    with pytest.raises(BadInputError, match=f"no video in {bucket}/nothing"):
        ingest(workspace, f"{bucket}/nothing", "shapes", CONFIG)
    with pytest.raises(ConfigError, match="no such bucket"):
        ingest(workspace, "s3://no-such-bucket/videos", "shapes", CONFIG)
    assert not workspace.dataset("shapes").manifest.exists()


def test_with_the_endpoint_down_an_ingest_may_be_tried_again(
    workspace: Workspace, s3_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setitem(_S3_OPTIONS, "config_kwargs", {"retries": {"max_attempts": 0}})
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError) as caught:
        ingest(workspace, "s3://bucket/videos", "shapes", CONFIG)
    assert (caught.value.exit_code, caught.value.retryable) == (74, True)


def test_a_video_that_goes_while_it_is_asked_for_is_refused(
    bucket: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 34: replaced once, the new content is taken; gone, the next ingest tries again."""
    folder = RemoteFolder(bucket)
    folder.put_bytes(b"old", "a.mp4")
    source = Source(digest_sha256="0" * 64, size_bytes=3, paths=("a.mp4",))
    stat = RemoteFolder.stat
    replacements = [b"new content"]

    def replaced(self: RemoteFolder, path: str) -> object:
        found = stat(self, path)
        if replacements:
            folder.put_bytes(replacements.pop(), path)
        return found

    monkeypatch.setattr(RemoteFolder, "stat", replaced)
    with locator(workspace, bucket)(source) as found:
        assert isinstance(found, Path)
        assert found.read_bytes() == b"new content"
    folder.delete("a.mp4")
    with locator(workspace, bucket)(source) as found:
        assert isinstance(found, Refused)
        assert found.again
