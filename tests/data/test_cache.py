"""Local copies of videos on a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from vgan.data.files.cache import VideoCache, cache_bytes
from vgan.errors import ConfigError, StorageError
from vgan.remote import RemoteFile, RemoteFolder
from vgan.workspace import Workspace

KB = 1000
Listed = dict[str, RemoteFile]


@pytest.fixture
def fill(bucket: str) -> Callable[[dict[str, int]], Listed]:
    """`fill({path: size})` puts files into the bucket and returns its listing."""

    def put(sizes: dict[str, int]) -> Listed:
        folder = RemoteFolder(bucket)
        for path, size in sizes.items():
            folder.put_bytes(path.encode().ljust(size, b"."), path)
        return {file.path: file for file in folder.files()}

    return put


def copies(cache: VideoCache) -> dict[str, int]:
    """What lies in the cache: first word of the content, bytes."""
    files = [path for path in cache.folder.iterdir() if path.is_file()]
    return {path.read_bytes().rstrip(b".").decode(): path.stat().st_size for path in files}


def cap(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("VGAN_CACHE_GB", f"{size / 1e9:.9f}")


def test_a_video_is_fetched_once_and_keeps_its_suffix(
    workspace: Workspace, bucket: str, fill: Callable[[dict[str, int]], Listed]
) -> None:
    file = fill({"in/ä %20.MP4": 100})["in/ä %20.MP4"]
    cache = VideoCache(workspace)
    path = cache.get(bucket, file)
    assert (path.suffix, path.stat().st_size) == (".mp4", 100)
    RemoteFolder(bucket).delete("in/ä %20.MP4")
    assert VideoCache(workspace).get(f"{bucket}/", file) == path


def test_another_version_of_a_video_is_another_copy(
    workspace: Workspace, bucket: str, fill: Callable[[dict[str, int]], Listed]
) -> None:
    cache = VideoCache(workspace)
    old = fill({"a.mp4": 10})["a.mp4"]
    first = cache.get(bucket, old)
    RemoteFolder(bucket).put_bytes(b"new content", "a.mp4")
    [new] = RemoteFolder(bucket).files()
    assert cache.get(bucket, new).read_bytes() == b"new content"
    assert first.read_bytes().startswith(b"a.mp4")
    first.unlink()
    with pytest.raises(FileNotFoundError):
        cache.get(bucket, old)


def test_the_copies_used_longest_ago_make_room(
    workspace: Workspace,
    bucket: str,
    fill: Callable[[dict[str, int]], Listed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = fill(dict.fromkeys("abcd", 30 * KB))
    cap(monkeypatch, 100 * KB)
    cache = VideoCache(workspace)
    for age, name in enumerate("abc"):
        os.utime(cache.get(bucket, listed[name]), (1000 + age, 1000 + age))
    cache.get(bucket, listed["a"])  # used again, so that b is now the oldest
    cache.get(bucket, listed["d"])
    assert copies(cache) == {"a": 30 * KB, "c": 30 * KB, "d": 30 * KB}


def test_a_copy_in_use_is_never_evicted(
    workspace: Workspace,
    bucket: str,
    fill: Callable[[dict[str, int]], Listed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = fill(dict.fromkeys("abc", 60 * KB))
    cap(monkeypatch, 100 * KB)
    cache = VideoCache(workspace)
    with cache.hold(bucket, listed["a"]) as held:
        # Another cache object, as another stage would have: the locks lie on the files.
        with VideoCache(workspace).hold(bucket, listed["b"]) as extra:
            assert held.read_bytes().startswith(b"a")
            assert extra.read_bytes().startswith(b"b")
        assert copies(cache) == {"a": 60 * KB}  # there was no room for b: it went when it was no longer needed
    cache.get(bucket, listed["c"])
    assert copies(cache) == {"c": 60 * KB}


def test_a_video_larger_than_the_cache_is_there_only_while_it_is_used(
    workspace: Workspace,
    bucket: str,
    fill: Callable[[dict[str, int]], Listed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = fill({"small": 40 * KB, "huge": 120 * KB})
    cap(monkeypatch, 100 * KB)
    cache = VideoCache(workspace)
    cache.get(bucket, listed["small"])
    with cache.hold(bucket, listed["huge"]) as path:
        assert path.stat().st_size == 120 * KB
    assert copies(cache) == {"small": 40 * KB}
    with pytest.raises(ConfigError, match="huge has 120,000 bytes"):
        cache.get(bucket, listed["huge"])


def test_threads_that_want_the_same_video_fetch_it_once(
    workspace: Workspace,
    bucket: str,
    fill: Callable[[dict[str, int]], Listed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = fill({"a": 10 * KB, "b": 10 * KB})
    fetched: list[str] = []
    fetch = RemoteFolder.fetch

    def counted(self: RemoteFolder, path: str, *rest: object, **named: object) -> None:
        fetched.append(path)
        fetch(self, path, *rest, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(RemoteFolder, "fetch", counted)
    cache, start = VideoCache(workspace), threading.Barrier(8)
    seen: list[bytes] = []

    def use(name: str) -> None:
        start.wait()
        with cache.hold(bucket, listed[name]) as path:
            seen.append(path.read_bytes()[:1])

    threads = [threading.Thread(target=use, args=(name,)) for name in "abababab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fetched) == ["a", "b"]
    assert sorted(seen) == [b"a"] * 4 + [b"b"] * 4


def test_a_killed_download_leaves_nothing_that_is_taken_for_a_video(
    workspace: Workspace, bucket: str, fill: Callable[[dict[str, int]], Listed]
) -> None:
    """FAULTS 1: kill -9 in the middle of a write; only a temporary file stays, and the next one sweeps it."""
    file = fill({"a.mp4": 10})["a.mp4"]
    code = (
        "import sys; from vgan.data.files.cache import VideoCache; from vgan.workspace import Workspace\n"
        "from vgan.remote import RemoteFile\n"
        f"VideoCache(Workspace.open(sys.argv[1])).get({bucket!r}, {file!r})"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, workspace.root],
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "VGAN_FAULT": "before_rename"},
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL
    cache = VideoCache(workspace)
    assert [path.name[:5] for path in cache.folder.iterdir()] == [".tmp-"]
    path = cache.get(bucket, file)
    assert [path] == list(cache.folder.iterdir())


def test_a_failed_download_leaves_nothing(workspace: Workspace, bucket: str) -> None:
    cache = VideoCache(workspace)
    with pytest.raises(FileNotFoundError):
        cache.get(bucket, RemoteFile("gone.mp4", 10, "v"))
    assert list(cache.folder.iterdir()) == []


def test_many_videos_may_be_held_at_once(
    workspace: Workspace, bucket: str, fill: Callable[[dict[str, int]], Listed]
) -> None:
    listed = fill({f"{number}": 10 for number in range(40)})
    cache = VideoCache(workspace)
    with ExitStack() as stack:
        held = [stack.enter_context(cache.hold(bucket, file)) for file in listed.values()]
        assert len({path.read_bytes() for path in held}) == 40


@pytest.mark.parametrize("text", ["many", "0", "-1", "1e9", "nan", "20 GB"])
def test_a_cap_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGAN_CACHE_GB", text)
    with pytest.raises(ConfigError, match="VGAN_CACHE_GB"):
        cache_bytes()


def test_the_cap_is_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VGAN_CACHE_GB", raising=False)
    assert cache_bytes() == 20 * 10**9
    monkeypatch.setenv("VGAN_CACHE_GB", "0.5")
    assert cache_bytes() == 5 * 10**8


def test_a_cache_that_cannot_be_written_says_so(
    workspace: Workspace, bucket: str, fill: Callable[[dict[str, int]], Listed]
) -> None:
    """FAULTS 7: before any download, the folder is named."""
    listed = fill({"a": 10})
    (workspace.root / "cache").write_text("in the way")
    with pytest.raises(StorageError, match="cache"):
        VideoCache(workspace).get(bucket, listed["a"])
