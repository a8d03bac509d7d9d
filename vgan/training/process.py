"""Training as its caller sees it: one call, one child process, one record.

The child does the work and may die; this side never imports torch, watches, and turns the
exit code into the error that says whether the same command can help.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ..config import TrainConfig
from ..data.manifest import load_dataset, verify_dataset
from ..errors import BY_EXIT_CODE, CorruptDataError, ResumableError, StoppedError, VganError
from ..progress import Progress, silent
from ..records import Dataset, TrainedRun
from ..storage import lease, read_bytes, sha256_file
from ..workspace import RunFolder, Workspace
from .childs_log import ChildsLog
from .heartbeat import Listener
from .initial import adopt
from .machine import MachineLog
from .nodes import Company, gather, join, node_rank
from .plan import RunConfig, prepare, read_budget, read_config, run_key
from .ranks import Ranks, check_share, count_processes
from .recipe import recipe_for

log = logging.getLogger(__name__)

MetricsListener = Callable[[dict[str, Any]], None]
POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0
SHARED_SECONDS = 60.0  # until a file that another machine has written is seen here


def train(
    workspace: Workspace,
    name: str,
    config: TrainConfig,
    *,
    version: str | None = None,
    init: str | None = None,
    progress: Progress = silent,
    on_metrics: MetricsListener | None = None,
    wait: float = 0.0,
) -> tuple[TrainedRun, bool]:
    """Train a generator on dataset `name`, or find the run that has done so.

    Starts one child process and waits for it. A run that was interrupted goes on from its
    newest checkpoint: calling again with the same arguments is how to resume. Of several machines
    the first one leads; on the others this has their share trained, and writes nothing.

    Args:
        workspace: holds the dataset; the run is written there.
        name: of the dataset.
        config: what to train.
        version: digest of the dataset version; None takes the current one.
        init: what `initial.adopt` returned, when the caller has called it; it must for a registered model.
        progress: told clips done, clips in all, and the speed.
        on_metrics: given each line of metrics.jsonl, in order, once; a resumed run's earlier lines come first.
        wait: seconds for which to wait for another process that trains the same run.

    Returns:
        The record, and whether the run was finished before this call.

    Raises:
        ConfigError: unknown dataset or initial weights, or a device that is not there.
        CorruptDataError: a shard, or every checkpoint, is damaged.
        DivergedError: a loss or gradient was not finite.
        ResumableError: the child was killed, or another process trains this run. StoppedError when the child was
            asked to stop.
    """
    dataset = load_dataset(workspace, name, version)
    init = init or adopt(workspace, dataset, config)
    folder = workspace.run(run_key(dataset, config, init))
    if (finished := finished_run(folder)) is not None:
        return finished, True
    if node := node_rank(config):
        return _follow(workspace, config, node, recipe_for(config.preset, config.batch).batch), False
    _verify(workspace, dataset, progress)
    with lease(folder.lease, wait=wait):
        if (finished := finished_run(folder)) is not None:
            return finished, True
        folder.record.unlink(missing_ok=True)
        key = prepare(workspace, dataset, config, init)
        Attempt(workspace, key, progress, on_metrics).run()
    return TrainedRun.from_json(read_bytes(folder.record), str(folder.record)), False


def _verify(workspace: Workspace, dataset: Dataset, progress: Progress) -> None:
    problems = verify_dataset(workspace, dataset, progress)
    if problems:
        raise CorruptDataError(
            f"dataset {dataset.name} is damaged: {problems[0]}"
            + (f" ({len(problems)} in all)" if problems[1:] else ""),
            hint="Run ingest again: it writes damaged shards anew.",
        )


def finished_run(folder: RunFolder) -> TrainedRun | None:
    """The record of a finished run whose weights are as recorded; None when there is none, or they are damaged."""
    if not folder.record.exists():
        return None
    weights = folder.generator / "weights.safetensors"
    try:
        record = TrainedRun.from_json(read_bytes(folder.record), str(folder.record))
        if weights.exists() and sha256_file(weights) == record.generator.weights_sha256:
            return record
        log.warning("%s is missing or damaged; it is made again from the last checkpoint", weights)
    except CorruptDataError as error:
        log.warning("%s; it is made again from the last checkpoint", error.message)
    return None


def _follow(workspace: Workspace, config: TrainConfig, node: int, batch: int) -> TrainedRun:
    """This machine's part of a run that another one leads; that one writes all that is written of it."""
    processes = count_processes(config.processes, config.device, check_share(batch, config.nodes))
    company = join(config, node, processes)
    try:
        with tempfile.TemporaryDirectory(prefix="vgan-") as scratch:
            Attempt(workspace, company.run, silent, None, Part(company, processes, Path(scratch) / "train.log")).run()
        company.wait()
        if company.code is not None:
            raise failure(company.code, company.said, [])
    finally:
        company.close()
    record, end = workspace.run(company.run).record, time.monotonic() + SHARED_SECONDS
    while not record.exists() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return TrainedRun.from_json(read_bytes(record), str(record))


@dataclass(frozen=True)
class Part:
    """What a machine that does not lead has to do of an attempt."""

    company: Company
    processes: int
    log: Path


class Attempt:
    """One child, which may be several processes, from start to exit code; `part` where another machine leads."""

    def __init__(
        self,
        workspace: Workspace,
        key: str,
        progress: Progress,
        on_metrics: MetricsListener | None,
        part: Part | None = None,
    ) -> None:
        self.folder = workspace.run(key)
        self.command = [sys.executable, "-m", "vgan.training", "--workspace", str(workspace.root), "--run", key]
        self.heartbeats = Listener(self.folder, progress)
        self.asked = read_config(self.folder)
        self.part = part
        self.log = part.log if part else self.folder.log
        self.on_metrics = on_metrics
        self.last_step = 0
        self.metrics_size = -1
        self.said = ChildsLog(self.log)

    def run(self) -> None:
        """Start the child, wait for it, and raise what its exit code means."""
        if self.part:
            company, processes = self.part.company, self.part.processes
        else:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self.heartbeats.begin()
            company, processes = self._gather()
        self.said = ChildsLog(self.log)
        with open(self.log, "ab") as output:

            def start(more: Mapping[str, str]) -> subprocess.Popen[bytes]:
                # A process group of its own: Ctrl-C on a terminal would otherwise reach it twice.
                return subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **more, "VGAN_SUPERVISOR": str(os.getpid())},
                    process_group=0,
                )

            child = Ranks(processes, start, company)
        with forwarded_signals(child) as received:
            try:
                self._watch(child)
            finally:
                end(child)
                company.leave(child.returncode, self.said.tail())
        if child.returncode:
            more = "" if self.part else f"All it said is in {self.log}."
            raise failure(child.returncode, [*self.said.tail(), *company.said], received, more)

    def _gather(self) -> tuple[Company, int]:
        """The other machines of the run, when they have come, and how many processes train here."""
        config, batch = self.asked.config, self.asked.recipe.batch
        processes = count_processes(config.processes, config.device, check_share(batch, config.nodes))
        return gather(config, self.folder.path.name, batch, processes), processes

    def _watch(self, child: Ranks) -> None:
        machine = None if self.part else MachineLog(self.folder)
        while child.poll() is None:
            self._deliver()
            self._hand_on()
            if machine:
                machine.look()
            time.sleep(POLL_SECONDS)
        self._deliver()
        self._hand_on()

    def _hand_on(self) -> None:
        """Hand on what the child has said for people."""
        news = self.said.hand_on()
        if news is not None:
            self.heartbeats.say(news)

    def _deliver(self) -> None:
        """Hand on the heartbeat, and the lines of metrics.jsonl that are new; the machine that leads does so."""
        if self.part:
            return
        budget = read_budget(self.folder)
        if budget is not None:
            self.heartbeats.look(budget)
        if self.on_metrics is not None and self.folder.metrics.exists():
            self._deliver_metrics(self.on_metrics)

    def _deliver_metrics(self, on_metrics: MetricsListener) -> None:
        """Reads the whole file, since a resume cuts it back."""
        content = self.folder.metrics.read_bytes()
        if len(content) == self.metrics_size:
            return
        self.metrics_size = len(content)
        for text in content.split(b"\n")[:-1]:  # what follows the last newline is still being written
            line: dict[str, Any] = json.loads(text)
            if line["step"] <= self.last_step:
                continue
            self.last_step = line["step"]
            on_metrics(line)


@contextmanager
def forwarded_signals(child: Ranks) -> Generator[list[int]]:
    """Pass signals that ask to stop on to the child while it runs; collects them.

    The first lets the child write a checkpoint, the second kills it. Elsewhere than in the main
    thread: nothing. A SIGHUP that is ignored, as under nohup, stays so. Afterwards a handler that
    somebody had set (such as Prefect's, which cancels the task) is called with the signal it missed.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child.poll() is None:
            # Its own handler would have to wait for the end of a long operation.
            child.send_signal(number if len(received) == 1 else signal.SIGKILL)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in received[:1]:
        handler = before[signal.Signals(number)]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)


def end(child: Ranks) -> None:
    """Make sure that the child has ended: ask, wait, kill. It has ended already unless something went wrong here."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(GRACE_SECONDS)


def probe(run: RunConfig) -> bytes:
    """What the processes that would train `run` find out about it, as the JSON of an `estimate.Probe`.

    They write nothing but into a temporary folder. What they say for people is logged while they work.

    Raises:
        VganError: what training would raise at its beginning, such as ConfigError for too little memory.
    """
    processes = count_processes(run.config.processes, run.config.device, run.recipe.batch)
    with tempfile.TemporaryDirectory(prefix="vgan-") as scratch:
        asked, found, said = (Path(scratch) / name for name in ("config.json", "found", "said"))
        asked.write_bytes(run.to_json())
        heard = ChildsLog(said)
        with open(found, "ab") as output, open(said, "ab") as errors:

            def start(more: Mapping[str, str]) -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    [sys.executable, "-m", "vgan.training", "--measure", str(asked)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env={**os.environ, **more, "VGAN_SUPERVISOR": str(os.getpid())},
                    process_group=0,
                )

            child = Ranks(processes, start)
        with forwarded_signals(child) as received:
            try:
                while child.poll() is None:
                    heard.hand_on()
                    time.sleep(POLL_SECONDS)
                heard.hand_on()
            finally:
                end(child)
        if child.returncode:
            raise failure(child.returncode, heard.tail(), received)
        return found.read_bytes()


def failure(code: int, tail: list[str], received: list[int], more: str = "") -> VganError:
    """The error that an exit code means, with the child's last words; `more` says where there are more of them."""
    said = next((line[7:] for line in reversed(tail) if line.startswith("error: ")), "")
    hint = next((line[6:] for line in reversed(tail) if line.startswith("hint: ")), "")
    # Killed by the second signal it was asked to stop, too.
    if received and code in (75, -received[0], *([-signal.SIGKILL] if received[1:] else [])):
        name = signal.Signals(received[0]).name
        return StoppedError(f"training was interrupted by {name}.", hint="The same command resumes.")
    if code < 0:
        return ResumableError(
            f"the training process was killed by signal {-code}; its last lines: {' | '.join(tail) or '(none)'}.",
            hint="The same command resumes from the last checkpoint"
            + ("; if memory ran out, take a smaller batch or preset." if code == -signal.SIGKILL else "."),
        )
    if code in BY_EXIT_CODE and said:
        return BY_EXIT_CODE[code](f"training stopped: {said}", hint=hint)
    last = tail[-1] if tail else "(it said nothing)"
    kind = BY_EXIT_CODE.get(code, VganError)
    return kind(f"the training process ended with code {code}: {last}.", hint=more)
