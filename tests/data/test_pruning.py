"""Pruning removes what nothing needs, says why the rest stays, and finishes what a killed call began."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ingesting import ROOT, state_of
from made_version import video, write_dataset

from vgan.config import TrainConfig
from vgan.data.files.cache import locked
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.versions.kept import list_versions
from vgan.errors import ConfigError
from vgan.pruning import Needs, Rule, prune_workspace
from vgan.records import GeneratorRecord, TrainedRun, Verdict
from vgan.storage import lease, write_atomic
from vgan.training.plan import prepare
from vgan.workspace import Workspace

DAY = 24 * 3600.0
NOW = time.time()
RULE = Rule(keep=1, idle_before=NOW - 7 * DAY)


def aged(path: Path, days: float) -> None:
    """Let all files of a folder have been written so many days ago."""
    for file in [path, *path.rglob("*")]:
        os.utime(file, (NOW - days * DAY,) * 2)


def add_run(workspace, key, digest, *, days, judged="refused", finished=True):
    folder = workspace.run(key)
    generator = GeneratorRecord(
        family="r3", network={}, labels=(), frames=8, height=32, width=32, fps=8.0, weights_sha256="0" * 64, run=key,
        dataset="made", dataset_digest=digest, vgan_version="0",
    )  # fmt: skip
    trained = TrainedRun(
        run=key, dataset="made", dataset_digest=digest, config=TrainConfig(), device="cpu", steps=1, clips=1,
        seconds=1.0, generator=generator, git_commit=None,
    )  # fmt: skip
    if finished:
        write_atomic(folder.record, trained.to_json())
    if judged:
        write_atomic(folder.verdict, Verdict(run=key, rival=None, outcome=judged, tolerance=0, checks=()).to_json())
    write_atomic(folder.checkpoints / "00000001.safetensors", b"weights of " + key.encode())
    aged(folder.path, days)


@pytest.fixture
def grown(workspace):
    """Versions 1 to 4 of one dataset; runs r1 to r4, each trained on its version, the newest last."""
    videos = [video(f"{number}.mp4") for number in range(4)]
    for number in range(1, 5):
        version = write_dataset(workspace, [([one], []) for one in videos[number - 1 : number + 1]], number=number)
        add_run(workspace, f"r{number}", version.digest(), days=30 - number)
    return workspace


def digest_of(workspace, number):
    return next(line.digest for line in list_versions(workspace, "made") if line.number == number)


def left(workspace):
    versions = sorted(line.number for line in list_versions(workspace, "made"))
    return workspace.run_keys(), versions


def sizes_of(workspace):
    return {path: path.stat().st_size for path in workspace.root.rglob("*") if path.is_file()}


def whys(found):
    return {line.name: line.why for line in found.staying}


def test_only_the_newest_stay_and_what_goes_was_said_before(grown):
    before, sizes = state_of(grown), sizes_of(grown)
    planned = prune_workspace(grown, RULE, Needs(), NOW, remove=False)
    assert state_of(grown) == before, "planning removes nothing"
    done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert done == planned
    assert left(grown) == (["r4"], [4])
    assert verify_dataset(grown, load_dataset(grown, "made")) == []
    gone = sum(sizes[path] for path in sizes.keys() - sizes_of(grown).keys() if path.parent.name != "versions")
    assert done.size_bytes == gone > 0
    assert not prune_workspace(grown, RULE, Needs(), NOW, remove=True).going


def test_what_an_alias_stands_on_stays_with_the_data_that_it_was_trained_on(grown):
    needs = Needs(runs={"r2": "models:/made/1 carries @champion"}, versions={digest_of(grown, 1): "an alias"})
    done = prune_workspace(grown, RULE, needs, NOW, remove=True)
    assert left(grown) == (["r2", "r4"], [1, 2, 4])
    assert whys(done) == {
        "r2": "models:/made/1 carries @champion", "made 2": "run r2 needs it", "made 1": "an alias",
    }  # fmt: skip
    for number in (1, 2, 4):
        assert verify_dataset(grown, load_dataset(grown, "made", digest_of(grown, number))) == []


def test_a_run_that_another_registry_may_know_stays(grown):
    add_run(grown, "r0", digest_of(grown, 1), days=40, judged="promoted")
    done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert grown.run_keys() == ["r0", "r4"] and "MLflow that was asked does not know it" in whys(done)["r0"]
    prune_workspace(grown, RULE, Needs(registered=frozenset({"r0"})), NOW, remove=True)
    assert grown.run_keys() == ["r4"], "this one knows it, and no alias is on it"


def test_unfinished_and_unjudged_runs_stay_while_somebody_may_go_on_with_them(grown):
    digest = digest_of(grown, 4)
    add_run(grown, "young", digest, days=2, judged=None, finished=False)
    add_run(grown, "old", digest, days=9, judged=None, finished=False)
    add_run(grown, "unjudged", digest, days=28, judged=None)
    os.utime(grown.run("unjudged").checkpoints / "00000001.safetensors", (NOW - 3 * DAY,) * 2)
    add_run(grown, "damaged", digest, days=30)
    grown.run("damaged").verdict.write_text("{")
    aged(grown.run("damaged").path, 30)
    done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert whys(done)["damaged"] == "its records cannot be read"
    assert {path.name for path in (grown.root / "runs").iterdir() if path.name[0] != "."} == {
        "r4", "young", "unjudged", "damaged"
    }  # fmt: skip
    assert whys(done)["unjudged"] == "not judged yet, and changed 3 d ago"
    assert whys(done)["young"] == "not finished, and changed 2 d ago"


def test_who_works_is_left_alone(grown):
    """FAULTS 41: a lease on a run or a dataset keeps it, and the next call takes it."""
    with lease(grown.run("r1").lease), lease(grown.dataset("made").lease):
        done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
        assert whys(done) == {"r1": "a process works on it now", "made": "an ingest is at work on it"}
        assert left(grown) == (["r1", "r4"], [1, 2, 3, 4])
    prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert left(grown) == (["r4"], [4])


def test_caches_and_weights_that_nobody_used_lately_go(grown):
    root = grown.root
    for name in ("evaluation/made/a", "evaluation/made/b", "initial/" + "a" * 64, "initial/" + "b" * 64):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.safetensors").write_bytes(b"12345")
    copies = root / "cache" / "videos"
    copies.mkdir(parents=True)
    for name in ("held.mp4", "idle.mp4", "new.mp4"):
        (copies / name).write_bytes(b"123")
    folder = grown.dataset("made")
    folder.pending("x").parent.mkdir()
    folder.pending("old").write_text("{}")
    folder.pending("new").write_text("{}")
    idle = [root / "evaluation/made/a.safetensors", root / f"initial/{'a' * 64}.safetensors", folder.pending("old")]
    for place in [*idle, copies / "held.mp4", copies / "idle.mp4"]:
        os.utime(place, (NOW - 20 * DAY,) * 2)
    with locked(copies / "held.mp4"):
        done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert sorted(path.name for path in copies.iterdir()) == ["held.mp4", "new.mp4"]
    assert [path.stem for path in (root / "evaluation/made").iterdir()] == ["b"]
    assert [path.stem for path in (root / "initial").iterdir()] == ["b" * 64]
    assert [path.stem for path in folder.pending("x").parent.iterdir()] == ["new"]
    assert {line.kind for line in done.going} == {
        "run", "dataset version", "shards", "waiting batch", "evaluation cache", "initial weights", "video copies"
    }  # fmt: skip


def test_the_weights_that_an_unfinished_run_starts_from_stay_with_its_data(grown):
    kept = grown.initial("c" * 64)
    write_atomic(kept, b"weights")
    aged(kept.parent, 20)
    key = prepare(grown, load_dataset(grown, "made", digest_of(grown, 1)), TrainConfig(), "c" * 64)
    done = prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert kept.exists() and whys(done)["made 1"] == f"run {key} needs it"
    aged(grown.run(key).path, 9)
    prune_workspace(grown, RULE, Needs(), NOW, remove=True)
    assert not kept.exists() and left(grown) == (["r4"], [4])


def test_at_least_one_stays(grown):
    with pytest.raises(ConfigError, match="keep is 0"):
        prune_workspace(grown, Rule(keep=0, idle_before=NOW), Needs(), NOW, remove=True)


CALL = """
import sys
from pathlib import Path
from vgan.pruning import *
workspace = Workspace.open(sys.argv[1])
prune_workspace(workspace, Rule(keep=1, idle_before=float(sys.argv[2])), Needs(), float(sys.argv[3]), remove=True)
"""


@pytest.mark.e2e
def test_a_call_that_was_killed_anywhere_is_finished_by_the_next(grown, tmp_path):
    """FAULTS 2: after each kill every run is whole or gone, and every version that is named has its shards."""
    whole = Workspace.open(shutil.copytree(grown.root, tmp_path / "whole"))
    prune_workspace(whole, RULE, Needs(), NOW, remove=True)
    cut = 0
    while True:
        cut += 1
        copy = Workspace.open(shutil.copytree(grown.root, tmp_path / f"cut-{cut}"))
        words = [sys.executable, "-c", CALL, copy.root, RULE.idle_before, NOW]
        env = {**os.environ, "VGAN_FAULT": f"in_pruning:{cut}"}
        done = subprocess.run([*map(str, words)], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        for line in list_versions(copy, "made"):
            assert verify_dataset(copy, load_dataset(copy, "made", line.digest)) == []
        for key in copy.run_keys():
            assert (copy.run(key).checkpoints / "00000001.safetensors").exists()
        prune_workspace(copy, RULE, Needs(), NOW, remove=True)
        names = {path.relative_to(copy.root) for path in copy.root.rglob("*") if "lease" not in path.name}
        assert names == {path.relative_to(whole.root) for path in whole.root.rglob("*") if "lease" not in path.name}
    assert cut > 6
    assert json.loads(whole.run("r4").record.read_bytes())["run"] == "r4"
