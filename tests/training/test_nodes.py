"""Promises of training on several machines, which here are several launches on one that meet over loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from s3_server import free_port
from test_distributed import CONFIG, FIRST, LONG, STEPS, SUPERVISE, assert_close, children, last_checkpoint, planned
from test_distributed import metrics as metrics_of

from vgan.config import TrainConfig
from vgan.errors import ConfigError, ResumableError
from vgan.training import nodes
from vgan.training.nodes import NODE, Company, gather, join, node_rank
from vgan.training.plan import run_key
from vgan.training.process import failure
from vgan.training.ranks import Ranks
from vgan.workspace import RunFolder, Workspace


def meeting_at(port: int, **fields: object) -> TrainConfig:
    return CONFIG.model_copy(update={"nodes": 2, "rendezvous": f"127.0.0.1:{port}", **fields})


@pytest.fixture
def config() -> TrainConfig:
    return meeting_at(free_port())


class Joining(threading.Thread):
    """Another machine, in a thread of its own."""

    def __init__(self, config: TrainConfig, processes: int = 1, node: int = 1) -> None:
        super().__init__(daemon=True)
        self.arguments = (config, node, processes)
        self.company: Company | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.company = join(*self.arguments)
        except Exception as error:
            self.error = error

    def joined(self) -> Company:
        self.join(30)
        assert self.company is not None, self.error
        return self.company


@contextmanager
def both(config: TrainConfig, here: int = 1, there: int = 1) -> Iterator[tuple[Company, Company]]:
    other = Joining(config, there)
    with ExitStack() as stack:
        leading = gather(config, "a-run", 6, here)
        stack.callback(leading.close)
        stack.callback(other.joined().close)
        yield leading, other.joined()


def until(true: object) -> None:
    end = time.monotonic() + 30
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_machines_agree_on_the_run_its_ranks_and_where_they_meet(config: TrainConfig) -> None:
    with both(config, here=2, there=1) as (leading, other):
        assert (leading.first, leading.number) == (0, 1)
        assert (other.first, other.number, other.run) == (2, 2, "a-run")
        assert leading.meeting == other.meeting
        assert leading.meeting["MASTER_ADDR"] == "127.0.0.1"
        environments: list[dict[str, str]] = []

        def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
            environments.append(environment)
            return subprocess.Popen(["true"])

        assert Ranks(2, start, leading).wait(30) == Ranks(1, start, other).wait(30) == 0
    assert [(e["RANK"], e["LOCAL_RANK"], e["WORLD_SIZE"]) for e in environments] == [
        ("0", "0", "3"), ("1", "1", "3"), ("2", "0", "3")
    ]  # fmt: skip
    assert all(e["MASTER_PORT"] == leading.meeting["MASTER_PORT"] for e in environments)


def test_a_batch_that_does_not_divide_among_all_machines_is_refused_on_each(config: TrainConfig) -> None:
    other = Joining(config, 3)
    with pytest.raises(ConfigError, match=r"batch of 6 clips does not divide among 4.*--batch 8"):
        gather(config, "a-run", 6, 1)
    other.join(30)
    assert isinstance(other.error, ConfigError)
    assert "--batch 8" in str(other.error)


def test_what_says_nothing_sensible_is_sent_away_and_the_machines_still_meet(config: TrainConfig) -> None:
    host, port = nodes.address_of(str(config.rendezvous))
    begun = threading.Event()

    def disturb() -> None:
        until(lambda: connects(host, port, b"GET / HTTP/1.1\r\n\r\n"))
        assert connects(host, port, b'{"node": 7, "nodes": 2, "processes": 1}\n')
        assert connects(host, port, b"\xff" * 100_000)
        begun.set()

    threading.Thread(target=disturb, daemon=True).start()
    late = threading.Thread(target=lambda: begun.wait(30) and others.append(Joining(config)), daemon=True)
    others: list[Joining] = []
    late.start()
    leading = gather(config, "a-run", 6, 1)
    late.join(30)
    others[0].joined().close()
    leading.close()


def connects(host: str, port: int, words: bytes) -> bool:
    try:
        with socket.create_connection((host, port), 10) as connection:
            connection.sendall(words)
        return True
    except ConnectionRefusedError:
        return False
    except ConnectionError:
        return True


def test_a_machine_that_does_not_come_is_named(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "GATHER_SECONDS", 0.0)
    with pytest.raises(ResumableError, match=r": 1 did not.*VGAN_NODE_RANK"):
        gather(config, "a-run", 6, 1)
    with pytest.raises(ResumableError, match="no machine leads"):
        join(config, 1, 1)


def test_a_machine_that_is_lost_counts_as_a_failed_process(config: TrainConfig) -> None:
    with both(config) as (leading, other):
        ranks = Ranks(1, lambda environment: subprocess.Popen(["sh", "-c", "sleep 0.3; exit 75"]), leading)
        assert ranks.poll() is None
        other.close()  # as the kernel does for a process that was killed
        assert ranks.wait(30) == 75
        assert leading.code == 75
        assert leading.said[0] == "error: machine 1 is lost."
    error = failure(75, leading.said, [])
    assert error.retryable, "so the task calls again, and the run goes on from its checkpoint"
    assert "machine 1 is lost" in str(error)


def test_the_cause_on_one_machine_is_told_on_the_other(config: TrainConfig) -> None:
    with both(config) as (leading, other):
        other.tell(70)
        until(leading.failed)
        other.leave(70, ["error: diverged", "hint: another seed"])
        leading.leave(75, [])
        assert (leading.code, leading.said) == (70, ["error: diverged", "hint: another seed"])


def test_a_machine_that_has_ended_well_is_not_lost(config: TrainConfig) -> None:
    with both(config) as (leading, other):
        other.leave(0, [])
        other.close()
        leading.wait()
        assert leading.code is None


@pytest.mark.parametrize("text", ["", "2", "-1", "one"])
def test_a_machine_must_say_which_it_is(text: str, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODE, text)
    with pytest.raises(ConfigError, match=r"VGAN_NODE_RANK.*from 0 .* to 1"):
        node_rank(config)
    assert node_rank(CONFIG) == 0


@pytest.mark.parametrize("fields", [{"nodes": 2}, {"rendezvous": "here"}, {"rendezvous": "here:99999"}])
def test_where_machines_meet_is_checked_before_anything_begins(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rendezvous"):
        TrainConfig(**fields)  # type: ignore[arg-type]


def test_the_number_of_machines_is_no_part_of_what_is_learned(workspace: Workspace, config: TrainConfig) -> None:
    from shapes_dataset import write_dataset

    from vgan.data.manifest import load_dataset

    write_dataset(workspace, clips=8)
    dataset = load_dataset(workspace, "shapes")
    assert run_key(dataset, config) == run_key(dataset, CONFIG)


@contextmanager
def machines(workspace: Workspace, config: TrainConfig) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two launches of one command, each as the machine that its environment says."""
    command = [sys.executable, "-c", SUPERVISE, str(workspace.root), config.model_dump_json()]
    started = [
        subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, NODE: str(node)}) for node in range(2)
    ]
    try:
        yield started
    finally:
        for machine in started:
            machine.kill()
            machine.communicate()


def wait_for_step(folder: RunFolder, step: int, started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + 240
    while not any(int(path.stem) >= step for path in folder.checkpoints.glob("[0-9]*.json")):
        assert all(machine.poll() is None for machine in started), folder.log.read_text()[-3000:]
        assert time.monotonic() < end, folder.log.read_text()[-3000:]
        time.sleep(0.05)


@pytest.mark.e2e
def test_two_machines_train_a_run_as_one_process_does_and_only_the_first_writes(tmp_path: Path) -> None:
    alone, run_alone = planned(tmp_path / "alone", CONFIG)
    command = [sys.executable, "-m", "vgan.training", "--workspace", str(alone.root), "--run", run_alone.path.name]
    single = subprocess.Popen(command, stderr=subprocess.PIPE)
    workspace, folder = planned(tmp_path / "two", CONFIG)
    with machines(workspace, meeting_at(free_port(), processes=1)) as started:
        said = [machine.communicate(timeout=280)[1].decode() for machine in started]
        assert [machine.returncode for machine in started] == [0, 0], said
    assert single.wait(120) == 0, single.communicate()[1]
    single.communicate()
    assert json.loads(folder.record.read_bytes())["steps"] == STEPS
    assert_close(metrics_of(folder)[:1], metrics_of(run_alone)[:1], FIRST)
    assert len(metrics_of(folder)) == len(metrics_of(run_alone)) == STEPS
    checkpoints = {path.name for path in folder.checkpoints.glob("*.json")}
    assert checkpoints == {path.name for path in run_alone.checkpoints.glob("*.json")}
    # Which of the two it is that wrote: the second one's log lay elsewhere, and was removed.
    assert len(list(folder.path.glob("*.log"))) == 1


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_rank_killed_on_either_machine_ends_both_with_75_and_the_same_commands_go_on(tmp_path: Path) -> None:
    """FAULTS 11: also on several machines; and the checkpoint goes on with another number of processes."""
    workspace, folder = planned(tmp_path, LONG)
    reached = 0
    for victim in (1, 0):
        config = LONG.model_copy(update={"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}", "processes": 1})
        with machines(workspace, config) as started:
            wait_for_step(folder, reached + 5, started)
            ranks = [children(machine.pid) for machine in started]
            assert [len(found) for found in ranks] == [1, 1]
            ranks[victim][0].kill()
            said = [machine.communicate(timeout=120)[1].decode() for machine in started]
            assert [machine.returncode for machine in started] == [75, 75], said
            assert all("killed by signal 9" in text for text in said), said
            assert not psutil.wait_procs([rank for found in ranks for rank in found], timeout=10)[1]
        assert last_checkpoint(folder) >= reached + 5
        reached = last_checkpoint(folder)
    from vgan.training.loop import train_run

    asked = iter([False, True])
    with pytest.raises(ResumableError, match=f"stopped at step {reached + 2} "):
        train_run(workspace, folder.path.name, lambda: next(asked))


@pytest.mark.e2e
def test_a_machine_that_is_gone_ends_the_other_with_75(tmp_path: Path) -> None:
    """FAULTS 11: its supervisor was killed, and nobody could say goodbye."""
    workspace, folder = planned(tmp_path, LONG)
    config = LONG.model_copy(update={"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}", "processes": 1})
    with machines(workspace, config) as started:
        wait_for_step(folder, 5, started)
        ranks = [rank for machine in started for rank in children(machine.pid)]
        started[1].kill()
        said = started[0].communicate(timeout=120)[1].decode()
        assert started[0].returncode == 75, said
        assert not psutil.wait_procs(ranks, timeout=30)[1]
