import hashlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vgan.data.files.listing import Found
from vgan.data.files.sources import KnownFiles

ROOT = "/videos"
NOW = 1_800_000_000 * 10**9
OLD = NOW - 10**12


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def open_at(path: Path, now: int = NOW) -> KnownFiles:
    return KnownFiles(path, clock=lambda: now)


def found(path: str, version: str = "1") -> Found:
    return Found(path, len(path), version)


def looked_up(known: KnownFiles, *files: Found, root: str = ROOT) -> list[bytes | None]:
    return [content for _, content in known.lookup(root, sorted(files))]


def test_a_file_is_known_by_name_size_and_version(tmp_path):
    with open_at(tmp_path / "sources.db") as known:
        assert known.fresh
        for name in ("a.mp4", "b.mp4", "\N{VIDEO CAMERA}.mp4", r"\udcff.mp4"):
            known.remember(ROOT, found(name), digest(name), OLD)
    with open_at(tmp_path / "sources.db") as known:
        assert not known.fresh
        assert looked_up(known, found("a.mp4"), found("aa.mp4"), found("b.mp4")) == [
            digest("a.mp4"),
            None,
            digest("b.mp4"),
        ]
        assert looked_up(known, found(r"\udcff.mp4"), found("\N{VIDEO CAMERA}.mp4")) == [
            digest(r"\udcff.mp4"),
            digest("\N{VIDEO CAMERA}.mp4"),
        ]
        assert looked_up(known, found("a.mp4", "2"), Found("b.mp4", 6, "1")) == [None, None]
        assert looked_up(known, found("a.mp4"), root="/other") == [None]


def test_a_file_that_changed_just_now_is_read_again(tmp_path):
    """FAULTS 43: the clock of a machine may stand at 1970 or jump; then files are hashed again, never mixed up."""
    with open_at(tmp_path / "sources.db") as known:
        known.remember(ROOT, found("fresh.mp4"), digest("fresh"), NOW - 10**9)
        known.remember(ROOT, found("old.mp4"), digest("old"), NOW - 3 * 10**9)
        known.remember(ROOT, found("future.mp4"), digest("future"), NOW + 10**15)
        known.remember(ROOT, found("remote.mp4"), digest("remote"), None)
        files = [found(f"{name}.mp4") for name in ("fresh", "future", "old", "remote")]
        assert looked_up(known, *files) == [None, None, digest("old"), digest("remote")]
    with open_at(tmp_path / "1970.db", now=5 * 10**9) as known:
        known.remember(ROOT, found("old.mp4"), digest("old"), OLD)
        assert looked_up(known, found("old.mp4")) == [None]


def test_a_file_without_a_version_is_read_each_time(tmp_path):
    with open_at(tmp_path / "sources.db") as known:
        known.remember(ROOT, found("a.mp4", ""), digest("a"), None)
        assert looked_up(known, found("a.mp4", "")) == [None]


def test_what_was_under_a_name_stays_in_mind_until_it_is_forgotten(tmp_path):
    with open_at(tmp_path / "sources.db") as known:
        known.remember(ROOT, found("a.mp4"), digest("a"), OLD)
        known.remember(ROOT, found("b.mp4"), digest("b"), OLD)
        known.remember(ROOT, found("a.mp4", "2"), digest("new a"), OLD)
        known.remember("/other", found("b.mp4"), digest("b"), OLD)
        now = [("a.mp4", digest("new a"))]
        former = list(known.former(ROOT, now))
        assert former == [("a.mp4", digest("a")), ("b.mp4", digest("b"))]
        assert known.other_roots(ROOT, "b.mp4", digest("b")) == ["/other"]
        assert known.other_roots("/other", "b.mp4", digest("b")) == [ROOT]
        known.gone(ROOT, former)
        assert known.other_roots("/other", "b.mp4", digest("b")) == [], "a name that is gone holds nothing"
        assert list(known.former(ROOT, now)) == former
        assert looked_up(known, found("b.mp4")) == [digest("b")], "it came back"
        assert known.other_roots("/other", "b.mp4", digest("b")) == [ROOT]
        known.forget(ROOT, former)
        assert list(known.former(ROOT, now)) == []
        assert looked_up(known, found("a.mp4", "2"), found("b.mp4")) == [digest("new a"), None]


def test_shards_are_known_until_they_change(tmp_path):
    shard = tmp_path / "train-0.tar"
    shard.write_bytes(b"shard")
    with open_at(tmp_path / "sources.db") as known:
        assert not known.shard_is_known(shard.name, shard.stat())
        known.remember_shard(shard.name, shard.stat())
    with open_at(tmp_path / "sources.db") as known:
        assert known.shard_is_known(shard.name, shard.stat())
        os.utime(shard, ns=(0, 0))
        assert not known.shard_is_known(shard.name, shard.stat())
        known.remember_shard(shard.name, shard.stat())
        known.forget_shards({"another.tar"})
        assert not known.shard_is_known(shard.name, shard.stat())


def test_recipes_are_counted(tmp_path):
    with open_at(tmp_path / "sources.db") as known:
        assert [known.recipes("a"), known.recipes("a"), known.recipes("b")] == [1, 1, 2]


def write_many(path: Path, count: int = 300) -> list[Found]:
    files = [found(f"{number:05d}.mp4") for number in range(count)]
    with open_at(path) as known:
        for file in files:
            known.remember(ROOT, file, digest(file.path), OLD)
    return files


def spoil_header(path: Path) -> None:
    path.write_bytes(b"not a database" + path.read_bytes()[14:])


def spoil_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def make_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE files (holiday TEXT)")
    database.close()


def make_newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [spoil_header, spoil_length, make_foreign, make_newer, make_empty])
def test_a_database_of_no_use_is_made_anew(tmp_path, caplog, spoil):
    path = tmp_path / "sources.db"
    files = write_many(path)
    spoil(path)
    with open_at(path) as known:
        assert set(looked_up(known, *files)) == {None}
        known.remember(ROOT, files[0], digest(files[0].path), OLD)
        known.flush()
        assert looked_up(known, files[0]) == [digest(files[0].path)]
    if spoil is not make_empty:
        assert "made anew" in caplog.text and str(path) in caplog.text
    with open_at(path) as known:
        assert looked_up(known, files[0]) == [digest(files[0].path)]


def test_a_flipped_bit_never_gives_a_wrong_hash(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    path = tmp_path / "sources.db"
    files = write_many(path)
    whole = path.read_bytes()
    dice = random.Random(0)
    lost = 0
    for _ in range(200):
        spoilt = bytearray(whole)
        spoilt[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(spoilt)
        with open_at(path) as known:
            for file, content in known.lookup(ROOT, files):
                assert content in (None, digest(file.path))
                lost += content is None
            assert all(content == digest(name) for name, content in known.former(ROOT, []))
    assert lost, "some flips hit what is read"


def test_a_locked_database_does_not_stop_a_plan(tmp_path, monkeypatch, caplog):
    path = tmp_path / "sources.db"
    files = write_many(path)
    monkeypatch.setattr("vgan.data.files.sources.LOCK_SECONDS", 0.05)
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with open_at(path) as known:
        assert looked_up(known, files[0]) == [None]
        known.remember(ROOT, files[0], digest(files[0].path), OLD)
    holder.close()
    assert "locked" in caplog.text
    with open_at(path) as known:
        assert looked_up(known, files[0]) == [digest(files[0].path)]


def test_without_a_place_to_write_it_lives_in_memory(tmp_path, caplog):
    (tmp_path / "sources.db").mkdir()
    with open_at(tmp_path / "sources.db") as known:
        known.remember(ROOT, found("a.mp4"), digest("a"), OLD)
        assert looked_up(known, found("a.mp4")) == [digest("a")]
    assert "cannot be written" in caplog.text


KILLED = """
import hashlib, sys
from pathlib import Path
from vgan.data.files.listing import Found
from vgan.data.files.sources import KnownFiles
known = KnownFiles(Path(sys.argv[1]))
for number in range(10**9):
    name = f"{number:08d}.mp4"
    known.remember("/videos", Found(name, len(name), "1"), hashlib.sha256(name.encode()).digest(), 0)
    if number % 2000 == 0:
        print(number, flush=True)
"""


def test_a_killed_plan_leaves_a_whole_database_that_goes_on(tmp_path, caplog):
    path = tmp_path / "sources.db"
    before = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            while int(child.stdout.readline()) < before + 4000:
                pass
            child.send_signal(signal.SIGKILL)
        with open_at(path) as known:
            files = [found(f"{number:08d}.mp4") for number in range(before + 2000)]
            assert all(content == digest(file.path) for file, content in known.lookup(ROOT, files))
        before += 2000
    assert "made anew" not in caplog.text
