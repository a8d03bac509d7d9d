"""The training processes of a run on this machine, handled as one child: started, signalled and waited for together.

Nothing here needs torch. The ranks of one machine find each other by a file of their own, so that no port can
be taken by somebody else; each one is the supervisor's own child, so that none outlives it. What runs on other
machines is seen through `Others`: a failure there counts as one here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import ConfigError, ResumableError

RENDEZVOUS = "VGAN_RENDEZVOUS"  # file by which the ranks of one machine find each other
GRACE_SECONDS = 30.0  # in which the others end by themselves, once one has ended with an error
GPUS = Path("/proc/driver/nvidia/gpus")

Start = Callable[[Mapping[str, str]], "subprocess.Popen[bytes]"]


def check_share(batch: int, processes: int) -> int:
    """Clips of a batch that each process gets; raises ConfigError when they cannot have equally many."""
    if batch % processes:
        raise ConfigError(
            f"a batch of {batch} clips does not divide among {processes} processes.",
            hint=f"Take --batch {-(-batch // processes) * processes}, or another number of --processes.",
        )
    return batch // processes


def count_processes(asked: int | None, device: str, batch: int) -> int:
    """How many to start: as asked, or one for each GPU, as far as the batch divides among them."""
    if asked is not None:
        check_share(batch, asked)
        return asked
    gpus = count_gpus() if device in ("auto", "cuda") else 0
    return next(number for number in range(max(gpus, 1), 0, -1) if batch % number == 0)


def count_gpus() -> int:
    """NVIDIA GPUs that a process started here would see; found without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(GPUS.iterdir())) if GPUS.is_dir() else 0


class Others:
    """The processes of a run on other machines; these here are none."""

    first = 0  # rank of this machine's first process
    number = 0  # processes elsewhere
    code: int | None = None  # how those elsewhere failed; None while they have not

    @property
    def meeting(self) -> Mapping[str, str]:
        """Where all ranks of the run find each other, as their environment says it; {} when all are here."""
        return {}

    def failed(self) -> bool:
        """Whether a process elsewhere has failed, or is lost."""
        return False

    def tell(self, code: int) -> None:
        """Say that a process here has failed."""


class Ranks:
    """One or several processes with the interface of one.

    Args:
        number: how many.
        start: starts one, given what its environment has besides this process's.
        others: those of the run on other machines.
    """

    def __init__(self, number: int, start: Start, others: Others | None = None) -> None:
        self.returncode: int | None = None  # what ended them all; None while one runs
        self._failed_at: float | None = None
        self._killed: set[int] = set()  # ranks that did not end by themselves
        self._others = others or Others()
        alone = number + self._others.number == 1
        self._meeting = None if alone or self._others.number else Path(tempfile.mkdtemp(prefix="vgan-"))
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(number):
                self._children.append(start(self._environment(rank, number)))
        except BaseException:
            self.kill()
            raise

    def _environment(self, rank: int, number: int) -> Mapping[str, str]:
        size = number + self._others.number
        if size == 1:
            return {}
        places = {"RANK": self._others.first + rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
        meeting = {RENDEZVOUS: str(self._meeting / "ranks")} if self._meeting else self._others.meeting
        return {name: str(value) for name, value in places.items()} | dict(meeting)

    def poll(self) -> int | None:
        """The exit code, None while one of them runs; kills those that outlive another's failure for too long."""
        if self.returncode is not None:
            return self.returncode
        codes = [child.poll() for child in self._children]
        if self._failed_at is None and (any(codes) or self._others.failed()):
            self._failed_at = time.monotonic()
            self._others.tell(next((code for code in codes if code), ResumableError.exit_code))
        if None not in codes:
            return self._end({rank: code for rank, code in enumerate(codes) if code is not None})
        if self._failed_at is not None and time.monotonic() - self._failed_at > GRACE_SECONDS:
            self._killed |= {rank for rank, code in enumerate(codes) if code is None}
            self.kill()
        return None

    def _end(self, codes: dict[int, int]) -> int:
        causes = [code for rank, code in codes.items() if rank not in self._killed] or list(codes.values())
        if any(codes.values()) and self._others.code is not None:
            causes.append(self._others.code)
        self.returncode = min(causes, key=_weight)
        if self._meeting is not None:
            shutil.rmtree(self._meeting, ignore_errors=True)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code; raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired([], timeout)
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        """To each that still runs."""
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)

    def terminate(self) -> None:
        """Ask all to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all."""
        self.send_signal(signal.SIGKILL)


def _weight(code: int) -> int:
    """Which of several exit codes is the cause: an error that was told, a kill, a crash, then who lost another rank."""
    if code == 0:
        return 4
    if code < 0:
        return 1
    return {1: 2, ResumableError.exit_code: 3}.get(code, 0)
