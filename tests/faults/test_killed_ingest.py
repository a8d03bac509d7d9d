"""An ingest that is killed, cut short by the disk or met by another one: FAULTS rows 1, 2, 4 to 7, 41, 42 and 48."""

import functools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ingesting import CONFIG, INGEST, ROOT, count_decoding, ingest_in_child, state_of

from vgan.data.batches.batch import ingest_batch
from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.planning.planner import plan_ingest
from vgan.data.shards import writer as shards_module
from vgan.data.versions.commit import commit
from vgan.errors import ResumableError, StorageError
from vgan.storage import lease, process_start
from vgan.workspace import Workspace

GUARDED = INGEST.replace("ingest(Workspace", "from vgan.errors import VganError\ntry:\n    ingest(Workspace")
GUARDED += "except VganError as error:\n    print(error)\n    sys.exit(error.exit_code)\n"


@pytest.fixture(scope="module")
def clean(shapes_videos, tmp_path_factory):
    """What an ingest leaves that nothing disturbed."""
    workspace = Workspace.open(tmp_path_factory.mktemp("clean"))
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    return state_of(workspace)


def start(workspace, videos, **environment):
    """An ingest in a process of its own."""
    arguments = [sys.executable, "-c", INGEST, str(workspace.root), str(videos), "2"]
    return subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE)


@pytest.mark.parametrize("fault", ["mid_shard", "before_fsync", "before_rename"])
def test_a_kill_in_the_middle_of_a_shard_leaves_no_shard(workspace, shapes_videos, clean, fault):
    """FAULTS 1: no final name without a whole file; the next run sweeps up and ends as if nothing had been."""
    assert ingest_in_child(workspace.root, shapes_videos, VGAN_FAULT=fault) == -9
    folder = workspace.dataset("shapes")
    assert not list(folder.shards.glob("*.tar")) and workspace.dataset_names() == []
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert state_of(workspace) == clean, "nothing is missing and no rubbish is left"


@pytest.mark.parametrize("fault", ["after_shard_rename", "before_batch", "before_manifest"])
def test_a_kill_between_shard_and_manifest_shows_nothing(workspace, shapes_videos, clean, fault):
    """FAULTS 2: shards that no manifest names do not exist for a reader; the next run ends as if nothing had been."""
    assert ingest_in_child(workspace.root, shapes_videos, VGAN_FAULT=fault) == -9
    assert list(workspace.dataset("shapes").shards.glob("*.tar"))
    assert workspace.dataset_names() == []
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert state_of(workspace) == clean


def test_a_kill_after_the_manifest_loses_nothing_but_the_clean_up(workspace, shapes_videos, clean, monkeypatch):
    """FAULTS 2: the version is there; the next run cleans up, decodes nothing and says that nothing has changed."""
    assert ingest_in_child(workspace.root, shapes_videos, VGAN_FAULT="before_clean_up") == -9
    assert workspace.dataset_names() == ["shapes"] and workspace.dataset("shapes").plan.exists()
    decoded = count_decoding(monkeypatch)
    assert ingest(workspace, str(shapes_videos), "shapes", CONFIG).unchanged
    assert decoded == [] and state_of(workspace) == clean


def test_a_commit_that_is_repeated_finds_its_version(workspace, shapes_videos, monkeypatch):
    """FAULTS 2: a task is tried again after the manifest was written, with the plan that it had."""
    plan = plan_ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    for place in plan.batches:
        ingest_batch(workspace, "shapes", CONFIG, place)
    with monkeypatch.context() as patch:
        patch.setattr("vgan.data.versions.commit.clean_up", lambda *_: None)
        first = commit(workspace, "shapes", CONFIG, plan)
    again = commit(workspace, "shapes", CONFIG, plan)
    assert again.unchanged and again.dataset_digest == first.dataset_digest
    with pytest.raises(ResumableError, match=r"changed by another ingest|not done"):
        commit(workspace, "shapes", CONFIG, plan)


def test_a_kill_at_any_moment_is_made_good(workspace, shapes_videos, clean):
    """FAULTS 1, 2: killed again and again wherever it happens to be, and no worker outlives it."""
    for pause in (0.4, 0.7, 1.0, 1.3):
        child = start(workspace, shapes_videos)
        time.sleep(pause)
        workers = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.kill()
        child.communicate()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == []
        if workspace.dataset_names():
            assert verify_dataset(workspace, load_dataset(workspace, "shapes")) == []
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert state_of(workspace) == clean


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_the_same_command_goes_on(workspace, lavfi, tmp_path, number):
    videos = tmp_path / "videos"
    for index in range(4):
        graph = f"testsrc2=size=480x360:rate=30:duration=15,hue=h={index * 80}"
        lavfi(videos / f"{index}.mp4", graph, "-pix_fmt", "yuv420p", "-preset", "ultrafast")
    command = [str(ROOT / ".venv/bin/vgan")] if (ROOT / ".venv/bin/vgan").exists() else [shutil.which("vgan")]
    arguments = ["ingest", "--videos", videos, "--name", "long", "--workspace", workspace.root, "--frames", "8"]
    # A shell's background job ignores SIGINT, and so would this child of a test that runs in one.
    default = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.PIPE, cwd=ROOT, preexec_fn=default)  # noqa: PLW1509
    waiting = time.monotonic() + 30
    while not list(workspace.dataset("long").shards.glob(".tmp-*")) and time.monotonic() < waiting:
        time.sleep(0.02)
    workers = psutil.Process(child.pid).children(recursive=True)
    for worker in workers:
        worker.suspend()  # so that nothing can be finished before the signal is there
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 75 and b"same command goes on" in said
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    ingest(workspace, str(videos), "long", CONFIG.model_copy(update={"labels": "none"}))
    assert not list(workspace.dataset("long").shards.glob(".tmp-*"))


def test_an_exception_between_two_samples_discards_the_shard(workspace, shapes_videos, clean, monkeypatch):
    """FAULTS 4: what was written so far never gets a name."""
    real = shards_module.canonical_json
    calls = []

    def broken(value):
        calls.append(value)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        return real(value)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="in the middle"):
        patch.setattr(shards_module, "canonical_json", broken)
        ingest(workspace, str(shapes_videos), "shapes", CONFIG.model_copy(update={"videos_per_batch": 12}))
    folder = workspace.dataset("shapes")
    waiting = time.monotonic() + 10
    while list(folder.shards.iterdir()) and time.monotonic() < waiting:
        time.sleep(0.01)  # until the threads that waited for other videos have seen that it is over
    assert not list(folder.shards.iterdir()) and not folder.manifest.exists()
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert state_of(workspace) == clean


def test_a_file_size_limit_is_a_storage_error_that_names_the_file(workspace, shapes_videos):
    """FAULTS 5, 6: ENOSPC and EFBIG end with code 74, nothing partial is visible and the way on is told."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = [sys.executable, "-c", GUARDED, str(workspace.root), str(shapes_videos), "1"]
    done = subprocess.run(arguments, check=False, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 74, done.stderr
    assert "Free some space" in done.stdout and str(workspace.root) in done.stdout
    assert not list(workspace.dataset("shapes").path.rglob("*.tar")) and workspace.dataset_names() == []


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("unshare"), reason="needs unshare, or not to be root")
@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_a_full_disk_keeps_what_is_there(shapes_videos, tmp_path):
    """FAULTS 5: the version before stays whole when the next one does not fit."""
    place = tmp_path / "small"
    place.mkdir()
    sized = GUARDED.replace("height=16, width=16", "height=int(sys.argv[4]), width=int(sys.argv[4])")
    (tmp_path / "code.py").write_text(sized)
    run = f"PYTHONPATH={ROOT} {sys.executable} {tmp_path}/code.py {place} {shapes_videos} 1"
    script = f"mount -t tmpfs -o size=3m none {place} && {run} 16; echo first $?; {run} 128; echo second $?; "
    script += f"{run} 16; echo third $?; ls -A {place}/datasets/shapes/shards"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], check=False, cwd=ROOT, capture_output=True, text=True)
    if "mount" in done.stderr and "first" not in done.stdout:
        pytest.skip("this machine lets nobody mount")
    found = [line for line in done.stdout.splitlines() if line.split()[0] in ("first", "second", "third")]
    assert found == ["first 0", "second 74", "third 0"], done.stdout + done.stderr
    assert ".tmp-" not in done.stdout


def test_an_output_folder_that_nobody_may_write_fails_before_any_work(shapes_videos, tmp_path, monkeypatch):
    """FAULTS 7: read-only, or a file in its place: code 74 before a video is opened."""
    decoded = count_decoding(monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        ingest(Workspace.open(tmp_path / "file" / "workspace"), str(shapes_videos), "shapes", CONFIG)
    assert caught.value.exit_code == 74 and decoded == []
    workspace = Workspace.open(tmp_path / "workspace")
    workspace.dataset("shapes").path.mkdir(parents=True)
    workspace.dataset("shapes").shards.write_text("in the way")
    with pytest.raises(StorageError):
        ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert decoded == []


def test_a_read_only_output_folder_fails_before_any_work(workspace, shapes_videos, tmp_path):
    """FAULTS 7: code 74 and the name of the folder; root, whom no permission stops, meets a read-only file system."""
    run = f"PYTHONPATH={ROOT} {sys.executable} -c '{GUARDED}' {workspace.root} {shapes_videos} 1"
    if os.geteuid() != 0:
        workspace.root.chmod(0o500)
        done = subprocess.run(["sh", "-c", run], check=False, cwd=ROOT, capture_output=True, text=True)
    else:
        script = f"mount -t tmpfs -o ro none {workspace.root} || exit 99; {run}"
        command = ["unshare", "-m", "sh", "-c", script]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode in (99, 127) or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 74 and str(workspace.root) in done.stdout, done.stderr


def test_an_output_folder_that_vanishes_in_mid_run_is_a_storage_error(workspace, shapes_videos):
    """FAULTS 7: no traceback, and nothing half-written."""

    def vanish(done, total, note):
        if note == "decoding":
            shutil.rmtree(workspace.dataset("shapes").path, ignore_errors=True)

    with pytest.raises((StorageError, ResumableError)):
        ingest(workspace, str(shapes_videos), "shapes", CONFIG, progress=vanish)
    assert workspace.dataset_names() == []
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)


def test_of_two_ingests_at_once_one_works_and_one_says_who_does(workspace, shapes_videos, clean):
    """FAULTS 41: two processes on one dataset never mix their outputs."""
    children = [start(workspace, shapes_videos) for _ in range(2)]
    said = [child.communicate(timeout=60)[1] for child in children]
    codes = [child.returncode for child in children]
    assert 0 in codes
    for code, words in zip(codes, said, strict=True):
        assert code == 0 or b"is in use by process" in words
    assert state_of(workspace) == clean


@pytest.mark.parametrize("owner", ["dead", "reused pid"])
def test_a_dead_ingests_lease_is_taken_over(workspace, shapes_videos, clean, owner, caplog):
    """FAULTS 42: by host, pid and start time, with a line in the log."""
    path = workspace.dataset("shapes").lease
    path.parent.mkdir(parents=True)
    pid, begun = (2**22 - 1, "1") if owner == "dead" else (os.getpid(), "1")
    assert process_start(pid) != begun
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": pid, "start": begun}))
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert "taking over the lease" in caplog.text
    with lease(path):
        pass
    assert state_of(workspace) == clean


def test_a_pending_batch_whose_shard_was_lost_is_made_again(workspace, shapes_videos, clean, monkeypatch):
    """FAULTS 48: a finished batch is believed only as far as its shards' hashes go."""
    plan = plan_ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    for place in plan.batches:
        ingest_batch(workspace, "shapes", CONFIG, place)
    shards = sorted(workspace.dataset("shapes").shards.glob("*.tar"))
    shards[0].chmod(0o644)
    shards[0].write_bytes(b"x" * shards[0].stat().st_size)
    shards[1].unlink()
    decoded = count_decoding(monkeypatch)
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert 0 < len(decoded) <= 10
    assert state_of(workspace) == clean
    assert Path(load_dataset(workspace, "shapes").shards[0].file)
