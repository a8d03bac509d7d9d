"""Decoders that hang, crash, eat memory or are not there: the video is lost, and nothing else."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from vgan.config import IngestConfig
from vgan.data.decoding import worker_process
from vgan.data.decoding.pool import DecoderPool
from vgan.data.decoding.taken import TakenVideo, TakeRequest
from vgan.errors import MissingToolError, StoppedError
from vgan.media.encode import mp4_bytes
from vgan.media.ffmpeg import find_ffmpeg
from vgan.storage import process_start, sha256_file, sweep_temporary

ROOT = Path(__file__).resolve().parents[2]
SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"

# Answers as a worker does, but does what the video's name says, and counts how often it was asked.
ODD_WORKER = f"""
import json, os, pathlib, signal, subprocess, sys, time
print('{{"ready": true}}', flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    name = pathlib.Path(asked["path"]).stem
    with open(asked["path"] + ".asked", "a") as file:
        file.write(f"{{os.getpid()}} ")
    if name == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.run([sys.executable, "-c", {SLEEPS!r}])
    elif name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "bug":
        open(asked["spool"], "wb").write(b"half")
        raise KeyError("\\x1b[31mno such stream")
    elif name == "flood":
        sys.stdout.write('{{"refused": "' + "x" * 3_000_000)
    elif name == "nonsense":
        print("Segmentation fault, kidding")
    else:
        print(json.dumps({{"refused": {{"reason": "well", "detail": str(os.getpid())}}}}))
    sys.stdout.flush()
"""


def config(**more):
    return IngestConfig(**{"frames": 8, "fps": 10.0, "height": 32, "width": 32, "min_motion": 0.0, **more})


def request(path, **more):
    path.touch()
    spool = str(path.with_name("spool"))
    return TakeRequest(path=str(path), digest_sha256=sha256_file(path), spool=spool, config=config(**more))


def pids():
    return {child.pid for child in psutil.Process().children(recursive=True) if process_start(child.pid)}


def gone(pid):
    for _ in range(500):
        if process_start(pid) is None:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = pids()
    yield
    assert all(gone(pid) for pid in pids() - before)


@pytest.fixture
def odd_pool(monkeypatch):
    monkeypatch.setattr(worker_process, "worker_command", lambda: [sys.executable, "-c", ODD_WORKER])
    with DecoderPool(1) as pool:
        yield pool


@pytest.fixture
def stopped(plain_video, tmp_path):
    """A pool of one worker that stands still as a hanging decoder does, and its pid."""
    with DecoderPool(1) as pool:
        before = pids()
        pool.take(taking(plain_video, tmp_path))
        (worker,) = pids() - before
        os.kill(worker, signal.SIGSTOP)
        yield pool, worker


def taking(path, tmp_path, **more):
    return TakeRequest(
        path=str(path), digest_sha256=sha256_file(path), spool=str(tmp_path / "spool"), config=config(**more)
    )


def test_a_decoder_that_hangs_is_killed_with_all_it_started_and_the_next_file_goes_on(odd_pool, tmp_path):
    """FAULTS 29: a worker that hangs and ignores SIGTERM is killed by group after the video's time."""
    before = pids()
    outcome = odd_pool.take(request(tmp_path / "hang.mp4", video_timeout=1.0))
    assert (outcome.reason, outcome.again) == ("decode_timeout", False)
    assert "1 s" in outcome.detail
    assert all(gone(pid) for pid in pids() - before), "its child, too, is dead"
    assert len((tmp_path / "hang.mp4.asked").read_text().split()) == 1, "what hangs is not tried again"
    assert odd_pool.take(request(tmp_path / "fine.mp4")).reason == "well"


def test_a_real_worker_that_stands_still_is_replaced(stopped, plain_video, tmp_path):
    """FAULTS 29: the same with the real worker."""
    pool, worker = stopped
    assert pool.take(taking(plain_video, tmp_path, video_timeout=0.5)).reason == "decode_timeout"
    assert gone(worker)
    assert not (tmp_path / "spool").exists()
    assert isinstance(pool.take(taking(plain_video, tmp_path)), TakenVideo)


def test_a_worker_hurt_by_an_earlier_file_does_not_cost_the_next_one(stopped, plain_video, tmp_path):
    """FAULTS 20: a decoder that crashes is replaced, and the video taken by the new one."""
    pool, worker = stopped
    outcomes = []
    asking = threading.Thread(target=lambda: outcomes.append(pool.take(taking(plain_video, tmp_path))))
    asking.start()
    while not pool._all or pool._idle:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(worker, signal.SIGSEGV)
    os.kill(worker, signal.SIGCONT)
    asking.join()
    assert isinstance(outcomes[0], TakenVideo)
    assert gone(worker)


@pytest.mark.parametrize(
    ("name", "said", "again"),
    [
        ("segfault", "signal 11", False),
        ("killed", "signal 9", True),
        ("bug", "no such stream", False),
        ("flood", "signal 9", True),
        ("nonsense", "", False),
    ],
)
def test_a_video_of_which_two_workers_die_is_refused(odd_pool, tmp_path, monkeypatch, name, said, again):
    """FAULTS 20: the reason says how the decoder died; what the system killed is tried by the next ingest."""
    monkeypatch.setattr(worker_process, "ANSWER_BYTES", 1_000_000)
    outcome = odd_pool.take(request(tmp_path / f"{name}.mp4"))
    assert outcome.reason == "decoder_crashed"
    assert said in outcome.detail and outcome.detail.isprintable()
    asked = (tmp_path / f"{name}.mp4.asked").read_text().split()
    assert len(asked) == len(set(asked)) == 2, "each time by another process"
    assert not (tmp_path / "spool").exists(), "half a spool is no use"
    assert odd_pool.take(request(tmp_path / "fine.mp4")).reason == "well"


def test_closing_the_pool_ends_what_waits(stopped, plain_video, tmp_path):
    """FAULTS 10: who waits for a decoder is told at once, and the decoder is gone."""
    pool, worker = stopped
    errors = []

    def take():
        try:
            pool.take(taking(plain_video, tmp_path, video_timeout=1000.0))
        except StoppedError as error:
            errors.append(error)

    waiting = [threading.Thread(target=take) for _ in range(3)]  # one for the answer, two for the worker
    for thread in waiting:
        thread.start()
    while pool._idle:
        time.sleep(0.01)
    pool.close()
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()
    assert len(errors) == 3 and errors[0].exit_code == 75
    assert gone(worker)
    with pytest.raises(StoppedError):
        pool.take(taking(plain_video, tmp_path))


ASKED = """
import json, sys
from vgan.config import IngestConfig
from vgan.data.decoding.pool import DecoderPool
from vgan.data.decoding.taken import TakeRequest
fields = json.loads(sys.argv[1])
del fields["config"]["stored_format"]
asked = TakeRequest(**fields | {"config": IngestConfig(**fields["config"])})
"""
PARENT = (
    ASKED
    + """
import os, signal, threading
hang = sys.argv[2]
with DecoderPool(2) as pool:
    pool.take(asked)
    (worker,) = [worker.child.pid for worker in pool._all]
    os.kill(worker, signal.SIGSTOP)
    print(worker, flush=True)
    if hang == "idle":
        threading.Event().wait()
    pool.take(asked)
"""
)


@pytest.mark.parametrize("hang", ["busy", "idle"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(plain_video, tmp_path, number, hang):
    """FAULTS 10: Ctrl-C, SIGTERM and kill -9 of the parent leave no process, even one that stands still."""
    # A shell's background job ignores SIGINT, and so would this child of a test that runs in one.
    reset = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", reset + PARENT, taking(plain_video, tmp_path).to_json().decode(), hang]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        worker = int(parent.stdout.readline())
        assert process_start(worker) is not None
        time.sleep(0.2)
        parent.send_signal(number)
    assert gone(worker)
    assert parent.returncode != 0


def test_spools_of_a_killed_parent_are_swept(plain_video, tmp_path):
    """FAULTS 1: what a killed ingest had half decoded is removed by the next one."""
    leftover = tmp_path / ".tmp-999999999-spool"
    asked = replace(taking(plain_video, tmp_path), spool=str(leftover))
    with DecoderPool(1) as pool:
        assert isinstance(pool.take(asked), TakenVideo)
    assert sweep_temporary(tmp_path) == 1 and not leftover.exists()


def test_memory_that_a_worker_may_not_have_costs_the_video_only(plain_video, tmp_path, monkeypatch):
    """FAULTS 28: a worker's memory is bounded, whatever a file makes it ask for."""
    with DecoderPool(1) as pool:
        pool.take(taking(plain_video, tmp_path))
        (worker,) = pool._all
        has = int(Path(f"/proc/{worker.child.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        monkeypatch.setattr(worker_process, "MEMORY_BYTES", has + (16 << 20))  # set before each video
        outcome = pool.take(taking(plain_video, tmp_path, height=1024, width=1024))
        assert outcome.reason == "too_large" and "memory" in outcome.detail
        monkeypatch.undo()
        assert isinstance(pool.take(taking(plain_video, tmp_path)), TakenVideo)


def test_videos_are_taken_without_ffmpeg_and_what_needs_it_says_so(plain_video, tmp_path, monkeypatch):
    """FAULTS 30: decoding needs no program; encoding for people ends with exit code 2 and the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VGAN_FFMPEG", str(tmp_path / "absent"))
    find_ffmpeg.__globals__["_find"].cache_clear()
    for kind in ("npy", "jpg", "mp4"):
        with DecoderPool(1) as pool:
            assert isinstance(pool.take(taking(plain_video, tmp_path, format=kind)), TakenVideo)
    with pytest.raises(MissingToolError, match="pip install imageio-ffmpeg") as caught:
        mp4_bytes(np.zeros((2, 16, 16, 3), np.uint8), 8.0)
    assert caught.value.exit_code == 2


def test_without_the_decoder_the_remedy_is_named(plain_video, tmp_path, monkeypatch):
    """FAULTS 30: PyAV that is not installed, or does not load, is told once and with exit code 2."""
    hidden = worker_process.worker_command()
    code = hidden.index("-c") + 1
    hidden[code] = "import sys; sys.modules['av'] = None; " + hidden[code]
    monkeypatch.setattr(worker_process, "worker_command", lambda: hidden)
    with DecoderPool(2) as pool, pytest.raises(MissingToolError, match=r"av.*pip install") as caught:
        pool.take(taking(plain_video, tmp_path))
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs util-linux")
def test_videos_are_taken_on_a_machine_without_any_network(plain_video, tmp_path):
    """FAULTS 47: no step of decoding looks for a network."""
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system gives no network namespaces")
    code = ASKED + "with DecoderPool(1) as pool:\n    print(pool.take(asked).to_json())\n"
    command = ["unshare", "-rn", sys.executable, "-c", code, taking(plain_video, tmp_path).to_json().decode()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout)["frames_decoded"] == 40
