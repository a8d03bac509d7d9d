"""A backup made while everything goes on is whole, and lies anywhere afterwards."""

import sqlite3
import threading

import pytest
from made_records import commit_batches

from vgan.backup import back_up, restore
from vgan.config import IngestConfig
from vgan.errors import ConfigError, CorruptDataError
from vgan.storage import write_atomic
from vgan.workspace import Workspace


def mlflow_database(root):
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table experiments (artifact_location text)")
        database.execute("create table runs (artifact_uri text)")
        for place in (
            f"file://{root}/mlartifacts/a",
            f"{root}/mlartifacts/b",
            f"file://{root}2/other",
            "mlflow-artifacts:/1",
        ):
            database.execute("insert into experiments values (?)", (place,))
    database.close()


def places(root):
    with sqlite3.connect(root / "mlflow.db") as database:
        return sorted(row[0] for row in database.execute("select artifact_location from experiments"))


@pytest.fixture
def full(workspace):
    """One of everything that is copied, and of everything that is not."""
    mlflow_database(workspace.root)
    commit_batches(workspace.dataset("cache"), IngestConfig(), (), ())
    for kept in ("runs/a/run.json", "runs/a/checkpoints/00000001.json", "mlartifacts/cache/.hidden", "keys/c2pa.pem"):
        write_atomic(workspace.root / kept, kept.encode())
    for left in ("cache/videos/a.mp4", "evaluation/x/a.safetensors", "leases/model-x.json", "services/services.json",
                 "services/logs/worker.log", "runs/a/lease.json", "runs/a/.tmp-1-2-x", "datasets/cache/in-use/1",
                 "runs/.pruned/b/run.json"):  # fmt: skip
        write_atomic(workspace.root / left, b"not copied")
    return workspace


def test_everything_that_cannot_be_made_again_is_copied_and_restored_at_another_place(full, tmp_path):
    made = back_up(full.root, tmp_path / "copy")
    assert made.databases == ("mlflow.db",)
    done = restore(tmp_path / "copy", tmp_path / "elsewhere")
    there = {str(path.relative_to(done.root)) for path in done.root.rglob("*") if path.is_file()}
    assert {"runs/a/run.json", "mlartifacts/cache/.hidden", "datasets/cache/manifest.json", "keys/c2pa.pem"} <= there
    assert not [name for name in there if (done.root / name).read_bytes() == b"not copied"]
    assert done.places == 2
    new = done.root
    assert places(new) == sorted(
        [f"file://{new}/mlartifacts/a", f"{new}/mlartifacts/b", f"file://{full.root}2/other", "mlflow-artifacts:/1"]
    )
    assert (new / "runs/a/run.json").stat().st_mtime == (full.root / "runs/a/run.json").stat().st_mtime
    assert Workspace.open(new).dataset_names() == ["cache"]


def test_a_backup_holds_what_its_records_name_although_versions_come_while_it_is_made(workspace, tmp_path):
    """FAULTS 41: a writer that never rests; each copy finds each shard that a manifest of it names."""
    folder, stop = workspace.dataset("grows"), threading.Event()

    def grow():
        number = 0
        while not stop.is_set():
            number += 1
            write_atomic(folder.shards / f"{number:05}.tar", b"shard")
            write_atomic(folder.manifest, str(number).encode())

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for copy in (tmp_path / f"copy-{n}" for n in range(5)):
            while not folder.manifest.exists():
                pass
            back_up(workspace.root, copy)
            newest = int((copy / "datasets/grows/manifest.json").read_bytes())
            assert all((copy / f"datasets/grows/shards/{number:05}.tar").exists() for number in range(1, newest + 1))
    finally:
        stop.set()
        writer.join()


def test_what_is_no_backup_or_not_all_of_one_is_refused(full, tmp_path):
    with pytest.raises(ConfigError, match=r"backup\.json"):
        restore(full.root, tmp_path / "new")
    with pytest.raises(ConfigError, match="lies in the workspace"):
        back_up(full.root, full.root / "copy")
    back_up(full.root, tmp_path / "copy")
    for taken in (tmp_path / "copy", full.root):
        with pytest.raises(ConfigError, match="not empty"):
            back_up(full.root, taken) if taken != full.root else restore(tmp_path / "copy", taken)
    (tmp_path / "copy/mlflow.db").write_bytes(b"x" * (tmp_path / "copy/mlflow.db").stat().st_size)
    with pytest.raises(CorruptDataError, match=r"mlflow\.db"):
        restore(tmp_path / "copy", tmp_path / "new")
    (tmp_path / "copy/runs/a/run.json").unlink()
    with pytest.raises(CorruptDataError, match="files"):
        restore(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()
