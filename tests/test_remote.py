"""Buckets, against a real S3 endpoint."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from s3_server import PAGE, free_port

from vgan.errors import ConfigError, StorageError
from vgan.remote import _S3_OPTIONS, RemoteFolder, check_url, is_url, plain_path

NAMES = [
    "plain.mp4",
    "in a folder/with spaces.mp4",
    "zwölf Bären 🐻.mp4",
    "100%25+1.mp4",
    "what?#&=;[x]*.mp4",
    "a//b.mp4",
    "../up.mp4",
]
ROOT = Path(__file__).resolve().parents[1]


def in_child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, where every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, check=False, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


def test_files_are_listed_and_read_under_whatever_names_they_have(bucket: str, tmp_path: Path) -> None:
    folder = RemoteFolder(f"{bucket}/my videos")
    for name in NAMES:
        folder.put_bytes(name.encode(), name)
    RemoteFolder(f"{bucket}/my videos 2").put_bytes(b"of a folder whose name begins alike", "x.mp4")
    RemoteFolder(bucket).put_bytes(b"", "my videos/placeholder/")
    listed = list(folder.files())
    assert sorted(file.path for file in listed) == sorted(NAMES)
    for file in listed:
        assert file.size == len(file.path.encode())
        assert folder.stat(file.path) == file
        folder.fetch(file.path, tmp_path / "copy", limit=file.size, expected=file)
        assert (tmp_path / "copy").read_bytes() == file.path.encode() == folder.read_bytes(file.path)
    folder.delete("plain.mp4")
    folder.delete("plain.mp4")
    assert not folder.exists("plain.mp4")
    assert folder.exists("a//b.mp4")
    assert folder.read_bytes("plain.mp4") is None


def test_a_whole_bucket_is_a_folder_too(bucket: str) -> None:
    RemoteFolder(bucket).put_bytes(b"", "a/empty.mp4")
    assert [file.path for file in RemoteFolder(f"{bucket}/").files()] == ["a/empty.mp4"]
    assert RemoteFolder(bucket).read_bytes("a/empty.mp4") == b""


def test_every_listing_is_fresh(bucket: str) -> None:
    folder = RemoteFolder(f"{bucket}/videos")
    assert list(folder.files()) == []
    RemoteFolder(f"{bucket}/videos").put_bytes(b"1", "a.mp4")
    before = list(folder.files())
    assert [file.path for file in before] == ["a.mp4"]
    # Another process: nothing in this one can know of it.
    done = in_child(f"from vgan.remote import RemoteFolder as R; R({folder.url!r}).put_bytes(b'2', 'a.mp4')")
    assert done.returncode == 0, done.stderr
    assert list(folder.files()) != before


def test_a_listing_is_taken_page_by_page(bucket: str) -> None:
    folder = RemoteFolder(f"{bucket}/many")
    folder._fs.pipe(
        {f"{folder._root}/{number:03}.mp4": b"" for number in range(2 * PAGE + 5)}
    )  # the endpoint answers 100 at a time
    files = folder.files()
    assert next(files).path == "000.mp4"
    del files  # a reader that stops early leaves nothing behind
    assert [file.path for file in folder.files()] == [f"{number:03}.mp4" for number in range(2 * PAGE + 5)]


@pytest.mark.e2e
def test_a_file_of_several_parts_arrives_whole(bucket: str, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 101  # beyond the 100 MB from which the driver sends and fetches in parts
    (tmp_path / "big").write_bytes(content)
    folder = RemoteFolder(bucket)
    folder.put(tmp_path / "big", "big")
    folder.fetch("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_what_was_replaced_since_the_listing_is_not_taken(bucket: str, tmp_path: Path) -> None:
    """FAULTS 34: of two states of a file, one is taken or none."""
    folder = RemoteFolder(bucket)
    folder.put_bytes(b"old", "a.mp4")
    [listed] = folder.files()
    folder.put_bytes(b"new", "a.mp4")
    with pytest.raises(FileNotFoundError):
        folder.fetch("a.mp4", tmp_path / "a", expected=listed)
    with pytest.raises(FileNotFoundError):
        folder.fetch("b.mp4", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_allowed_are_not_taken(bucket: str, tmp_path: Path) -> None:
    folder = RemoteFolder(bucket)
    folder.put_bytes(b"12345", "a.mp4")
    with pytest.raises(StorageError, match=r"a\.mp4 has 5 bytes, more than the 4"):
        folder.fetch("a.mp4", tmp_path / "a", limit=4)
    with pytest.raises(StorageError, match="more than the 4"):
        folder.read_bytes("a.mp4", limit=4)
    assert folder.read_bytes("a.mp4", limit=5) == b"12345"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so_and_leaves_nothing(bucket: str, tmp_path: Path) -> None:
    """FAULTS 6: a limit on the size of files ends in a sentence."""
    RemoteFolder(bucket).put_bytes(b"x" * 100_000, "a.mp4")
    code = (
        "import resource, signal, sys; from pathlib import Path; from vgan.remote import RemoteFolder\n"
        f"folder, target = RemoteFolder({bucket!r}), Path({str(tmp_path / 'a')!r})\n"
        "folder.stat('a.mp4'); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: folder.fetch('a.mp4', target)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = in_child(code)
    assert done.stdout.startswith("StorageError"), done.stderr
    assert "File too large" in done.stdout
    assert "Free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "pipe:touch marker",
        "pipe://touch marker",
        "http://127.0.0.1/x",
        "https://example.org/x",
        "file:///etc",
        "memory://x",
        "local://x",
        "github://org:repo@main/x",
        "simplecache::s3://bucket/x",
        "S3://bucket/x",
        "s3:/bucket",
        "reference://x",
        "",
    ],
)
def test_other_schemes_are_refused_before_anything_is_opened(url: str, s3_environment: None) -> None:
    """FAULTS 38: a URL runs no shell and fetches no page."""
    with pytest.raises(ConfigError, match="is not opened") as caught:
        RemoteFolder(url)
    assert "s3://" in caught.value.hint


def test_no_chain_of_schemes_is_taken_apart(s3_environment: None) -> None:
    """FAULTS 38: behind a bucket's name everything is a name."""
    assert RemoteFolder("s3://bucket/x::http://y")._root == "bucket/x::http://y"


def test_credentials_in_a_url_are_refused_without_being_shown() -> None:
    """FAULTS 45: what somebody typed into a URL is not said again."""
    for url in ("s3://key:canary@bucket/x", "s3://canary@bucket", "gs://:canary@b/x", "canary://x/y:z@b"):
        with pytest.raises(ConfigError) as caught:
            RemoteFolder(url)
        assert "canary@" not in str(caught.value)
        assert "key" not in str(caught.value)


def test_a_bucket_needs_a_name() -> None:
    for url in ("s3://", "s3:///folder"):
        with pytest.raises(ConfigError, match="names no bucket"):
            check_url(url)
    assert check_url("s3://bucket/a/b//") == "s3://bucket/a/b"
    assert check_url("abfs://container@account.dfs.core.windows.net/x").startswith("abfs")


def test_urls_are_told_from_paths() -> None:
    for url in ("s3://bucket", "http://x", "simplecache::s3://bucket"):
        assert is_url(url)
    for path in ("videos", "/data/a:b", "./s3:/x", "http:x.mp4", "C:x"):
        assert not is_url(path)


def test_a_file_url_is_a_path_of_this_machine() -> None:
    assert plain_path("file:///data/my%20videos") == "/data/my videos"
    assert plain_path("file://localhost/data/%C3%BC") == "/data/ü"
    assert plain_path("/data/a%20b") == "/data/a%20b"
    with pytest.raises(ConfigError):
        plain_path("file://other/data")


def test_a_missing_driver_is_named_with_its_remedy() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from vgan.remote import RemoteFolder\n"
        "try: RemoteFolder('s3://bucket')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = "MissingToolError the driver for s3:// is not installed. Install it: pip install 'vgan[s3]'\n"
    assert in_child(code).stdout == said


def test_no_such_bucket_is_a_mistake_to_mend(bucket: str, tmp_path: Path) -> None:
    folder = RemoteFolder("s3://no-such-bucket/videos")
    for call in (
        lambda: list(folder.files()),
        lambda: folder.read_bytes("a"),
        lambda: folder.put_bytes(b"", "a"),
        lambda: folder.fetch("a", tmp_path / "a"),
    ):
        with pytest.raises(ConfigError, match=r"s3://no-such-bucket/videos.*no such bucket"):
            call()


def test_no_credentials_is_a_mistake_to_mend(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RemoteFolder(bucket)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match=r"listing s3://bucket-.*redentials") as caught:
        list(folder.files())
    assert "AWS_PROFILE" in caught.value.hint


def test_an_endpoint_that_is_down_may_be_tried_again(s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)  # else it tries for six seconds
    monkeypatch.setitem(_S3_OPTIONS, "config_kwargs", {"retries": {"max_attempts": 0}})
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    folder = RemoteFolder("s3://bucket/videos")
    with pytest.raises(StorageError, match="listing s3://bucket/videos failed: Could not connect") as caught:
        list(folder.files())
    assert caught.value.retryable
    assert caught.value.exit_code == 74


def test_no_secret_of_the_environment_is_ever_said(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FAULTS 45: neither messages, tracebacks nor logs hold a key, even when a driver says it."""
    canary = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "canary-of-azure")
    caplog.set_level(logging.INFO)
    folder = RemoteFolder(bucket)
    folder.put_bytes(b"", "a")
    list(folder.files())

    def leak(*_: object, **__: object) -> None:
        try:
            raise OSError(f"signing with {canary}")
        except OSError as error:
            raise RuntimeError("the request with canary-of-azure failed") from error

    monkeypatch.setattr(folder, "_fs", type("Driver", (), {"put_file": leak, "pipe_file": leak, "info": leak})())
    for call in (lambda: folder.put_bytes(b"", "b"), lambda: folder.exists("b")):
        with pytest.raises(StorageError, match=r"failed: the request with \*\*\* failed") as caught:
            call()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert "canary" not in caplog.text


def test_a_process_that_used_a_bucket_ends_in_silence(bucket: str) -> None:
    code = (
        "from vgan.remote import RemoteFolder\n"
        f"folder = RemoteFolder({bucket!r}); folder.put_bytes(b'1', 'a'); print([f.path for f in folder.files()])"
    )
    done = in_child(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['a']\n", "")


def test_without_a_url_nothing_of_fsspec_is_loaded() -> None:
    code = "import sys, vgan.remote, vgan.workspace, vgan.data.buckets.published\n"
    code += "print({'fsspec', 's3fs'} & set(sys.modules))"
    assert in_child(code).stdout == "set()\n"
