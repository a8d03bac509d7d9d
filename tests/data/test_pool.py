"""Workers of the decoder pool: how they start, live and end. What hostile files do to them is in tests/faults."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from vgan.config import IngestConfig
from vgan.data.decoding import pool as pool_module
from vgan.data.decoding import worker_process
from vgan.data.decoding.pool import DecoderPool, cores, shared_pool
from vgan.data.decoding.take import take_video
from vgan.data.decoding.taken import TakenVideo, TakeRequest
from vgan.errors import ConfigError, MissingToolError
from vgan.storage import process_start, sha256_file


def request(path, spool, **more):
    config = IngestConfig(frames=8, fps=10.0, height=32, width=32, min_motion=0.0, **more)
    return TakeRequest(path=str(path), digest_sha256=sha256_file(path), spool=str(spool), config=config)


def pids():
    """Processes that this one started and that still run."""
    return {child.pid for child in psutil.Process().children(recursive=True) if process_start(child.pid)}


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = pids()
    files = psutil.Process().num_fds()
    yield
    assert pids() <= before
    gc.collect()
    assert psutil.Process().num_fds() <= files


def test_a_worker_gives_what_the_library_gives(plain_video, tmp_path):
    with DecoderPool(1) as pool:
        there = pool.take(request(plain_video, tmp_path / "there"))
    assert there == take_video(request(plain_video, tmp_path / "here"))
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_workers_start_when_needed_and_are_used_again(plain_video, tmp_path):
    before = pids()
    with DecoderPool(2) as pool:
        assert pids() == before
        pool.take(request(plain_video, tmp_path / "spool"))
        (first,) = pids() - before
        pool.take(request(plain_video, tmp_path / "spool"))
        assert pids() - before == {first}


def test_a_worker_outlives_the_thread_that_asked_first(plain_video, tmp_path):
    """The kernel ends a child with the thread that started it: that must not be a thread of the caller's."""
    before = pids()
    with DecoderPool(1) as pool:
        thread = threading.Thread(target=pool.take, args=(request(plain_video, tmp_path / "spool"),))
        thread.start()
        thread.join()
        worker = pids() - before
        assert isinstance(pool.take(request(plain_video, tmp_path / "spool")), TakenVideo)
        assert len(worker) == 1 and pids() - before == worker


def test_as_many_videos_as_workers_are_taken_at_a_time(plain_video, tmp_path):
    outcomes = []
    with DecoderPool(2) as pool:
        threads = [
            threading.Thread(target=lambda n=n: outcomes.append(pool.take(request(plain_video, tmp_path / f"{n}"))))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pool._all) <= 2
    assert len(outcomes) == 6 and all(outcome == outcomes[0] for outcome in outcomes)


def test_a_worker_is_replaced_after_some_hundred_videos(plain_video, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "VIDEOS_OF_A_WORKER", 2)
    seen = []
    with DecoderPool(1) as pool:
        for _ in range(4):
            pool.take(request(plain_video, tmp_path / "spool"))
            seen.append(frozenset(worker.child.pid for worker in pool._all))
    assert seen[0] != frozenset() == seen[1] and seen[2] not in (seen[0], frozenset())


def test_users_share_a_pool_and_the_last_one_closes_it(plain_video, tmp_path):
    before = pids()
    with shared_pool(1) as first:
        with shared_pool(1) as second, shared_pool(3) as other:
            assert first is second and first is not other
        assert isinstance(first.take(request(plain_video, tmp_path / "spool")), TakenVideo), "still open"
        assert pids() > before
    assert pids() == before
    with shared_pool(None) as default:
        assert default is not first and default.workers == cores()


def test_a_worker_has_a_group_of_its_own_and_sees_no_secrets(plain_video, tmp_path, monkeypatch):
    """FAULTS 45: what the environment holds stays here; a terminal's Ctrl-C does not reach workers."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    before = pids()
    with DecoderPool(1) as pool:
        pool.take(request(plain_video, tmp_path / "spool"))
        (worker,) = pids() - before
        assert os.getpgid(worker) == worker
        assert b"canary" not in Path(f"/proc/{worker}/environ").read_bytes()
        limits = Path(f"/proc/{worker}/limits").read_text()
        found = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
        assert found["Max core file size"] == "0"
        assert int(found["Max address space"]) == worker_process.MEMORY_BYTES
        assert int(found["Max open files"]) == worker_process.OPEN_FILES
        assert found["Max file size"].isdigit()


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("import no_such_decoder", MissingToolError, "no_such_decoder"),
        ("raise SystemExit('the disk of this machine is odd')", ConfigError, "is odd"),
        ("import os; os.abort()", ConfigError, "signal 6"),
    ],
)
def test_a_worker_that_cannot_start_is_told_and_not_started_again_and_again(
    plain_video, tmp_path, monkeypatch, code, kind, said
):
    tries = tmp_path / "tries"
    counted = f"open({str(tries)!r}, 'a').write('x'); {code}"
    monkeypatch.setattr(worker_process, "worker_command", lambda: [sys.executable, "-c", counted])
    with DecoderPool(1) as pool:
        with pytest.raises(kind, match=said) as caught:
            pool.take(request(plain_video, tmp_path / "spool"))
        assert caught.value.exit_code == 2
    assert tries.read_text() == "x"


def test_a_limit_on_written_bytes_follows_from_the_config():
    plain = IngestConfig(max_seconds=100, fps=10, stride=1, height=256, width=256, frames=8)
    pixels = 100 * 10 * 256 * 256 * 3
    assert pixels < worker_process.most_file_bytes(plain) < 2 * pixels
    overlapping = plain.model_copy(update={"stride": 0.1})
    assert worker_process.most_file_bytes(overlapping) > 8 * pixels
    few = overlapping.model_copy(update={"max_clips_per_video": 1})
    assert worker_process.most_file_bytes(few) == worker_process.most_file_bytes(plain)


def test_the_pool_loads_no_decoder():
    code = f"import sys, {pool_module.__name__}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"av", "numpy"} & set(loaded)


def test_a_worker_that_died_while_idle_is_replaced_unseen(plain_video, tmp_path):
    before = pids()
    with DecoderPool(1) as pool:
        pool.take(request(plain_video, tmp_path / "spool"))
        (worker,) = pids() - before
        os.kill(worker, signal.SIGKILL)
        while process_start(worker) is not None:
            time.sleep(0.01)
        assert isinstance(pool.take(request(plain_video, tmp_path / "spool")), TakenVideo)
