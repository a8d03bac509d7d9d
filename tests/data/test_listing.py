import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data.made_plans import write_files

from vgan.data.files import listing as listing_module
from vgan.data.files.listing import list_videos
from vgan.errors import ConfigError
from vgan.remote import RemoteFile


def names(folder: Path, **options: bool) -> list[str]:
    return [file.path for file in list_videos(str(folder), follow_outside=False, **options).files]


def test_files_are_taken_by_their_ending_and_sorted_by_name(tmp_path):
    write_files(tmp_path, "b/x.MP4", "a.mkv", "c/d/e/f.webm", "notes.txt", "b/._x.mp4", "mp4", ".mp4", "B.ts")
    listing = list_videos(str(tmp_path), follow_outside=False)
    assert [file.path for file in listing.files] == ["B.ts", "a.mkv", "b/x.MP4", "c/d/e/f.webm"]
    assert (listing.root, listing.whole, listing.remote) == (str(tmp_path), True, False)
    assert [file.size for file in listing.files] == [4, 5, 5, 6]


def test_one_file_is_listed_alone(tmp_path):
    write_files(tmp_path, "a.mp4", "b.mp4")
    listing = list_videos(str(tmp_path / "a.mp4"), follow_outside=False)
    assert [file.path for file in listing.files] == ["a.mp4"]
    assert (listing.root, listing.whole) == (str(tmp_path), False)


def test_an_absent_folder_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no"):
        list_videos(str(tmp_path / "absent"), follow_outside=False)


def test_the_version_of_a_file_changes_with_whatever_may_change_its_content(tmp_path):
    path = write_files(tmp_path, "a.mp4") / "a.mp4"

    def version() -> str:
        return list_videos(str(tmp_path), follow_outside=False).files[0].version

    seen = [version()]
    assert version() == seen[0]
    before = path.stat()
    path.write_text("b.mp4")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    seen.append(version())
    other = write_files(tmp_path, "other") / "other"
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    seen.append(version())
    assert len(set(seen)) == 3, "rewritten with the old time, and replaced by another file"


def test_a_real_folder_keeps_its_names_whatever_links_to_it(tmp_path):
    write_files(tmp_path, "real/x.mp4")
    (tmp_path / "a-link").symlink_to("real")
    assert names(tmp_path) == ["real/x.mp4"]


def test_a_folder_that_cannot_be_read_is_said_and_its_files_may_still_be_there(tmp_path, monkeypatch):
    write_files(tmp_path, "good/x.mp4", "bad/y.mp4", "badly/z.mp4")
    scandir = os.scandir

    def failing(place: str):
        if str(place).endswith("/bad"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", failing)
    listing = list_videos(str(tmp_path), follow_outside=False)
    assert [file.path for file in listing.files] == ["badly/z.mp4", "good/x.mp4"]
    assert [(rejection.path, rejection.reason) for rejection in listing.rejections] == [("bad", "unreadable")]
    may_be_there = listing.unreadable()
    assert may_be_there("bad/y.mp4") and not may_be_there("badly/gone.mp4") and not may_be_there("gone.mp4")


def test_a_very_deep_folder_is_listed(tmp_path):
    depth = 300
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(os.open("x.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert names(tmp_path) == ["d/" * depth + "x.mp4"]
    finally:
        sys.setrecursionlimit(limit)


def test_names_in_a_bucket_lead_nowhere_else(monkeypatch):
    hostile = [
        "../x.mp4",
        "/etc/x.mp4",
        "a/../../x.mp4",
        "a//x.mp4",
        "./x.mp4",
        "line\nbreak.mp4",
        "\ud800.mp4",
        "n\0.mp4",
    ]
    good = ["a/x.mp4", "b\u202fc.mov", "quo'te%03d.mkv"]

    class Bucket:
        def __init__(self, url: str) -> None:
            self.url = url

        def files(self):
            return iter(RemoteFile(path, 5, "tag") for path in [*hostile, *good, "notes.txt", "x" * 5000 + ".mp4"])

    monkeypatch.setattr(listing_module, "RemoteFolder", Bucket)
    listing = list_videos("s3://bucket/videos", follow_outside=False)
    assert [tuple(file) for file in listing.files] == [(path, 5, "tag") for path in sorted(good)]
    assert len(listing.rejections) == len(hostile) + 1
    assert {rejection.reason for rejection in listing.rejections} == {"bad_name"}
    assert all(rejection.path.isprintable() and len(rejection.path) <= 300 for rejection in listing.rejections)


MANY = """
import os, sys
from peak_memory import peak_mb
from vgan.data.files.listing import list_videos
class Entry:
    stat_of = os.stat(__file__) if "__file__" in globals() else os.stat(sys.executable)
    def __init__(self, name): self.name = name
    def is_symlink(self): return False
    def is_dir(self, follow_symlinks=True): return False
    def stat(self): return self.stat_of
class Scan:
    def close(self): pass
    def __enter__(self): return (Entry(f"camera-17-recording-{number:08d}.mp4") for number in range(count))
    def __exit__(self, *_): pass
count = int(sys.argv[2])
os.scandir = lambda place: Scan()
before = peak_mb()
listing = list_videos(sys.argv[1], follow_outside=False)
assert len(listing.files) == count
print(peak_mb() - before)
"""


def test_a_listing_costs_a_few_hundred_bytes_a_file(tmp_path):
    count = 100_000
    command = [sys.executable, "-c", MANY, str(tmp_path), str(count)]
    places = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert 5 < float(done.stdout) < 40, "less is not possible: then nothing was measured"
