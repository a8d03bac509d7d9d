"""The training processes of a run on this machine, handled as one child: started, signalled and waited for together.

Nothing here needs torch. The ranks find each other by a file of their own, so that no port can be
taken by somebody else; each one is the supervisor's own child, so that none outlives it.
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


class Ranks:
    """One or several processes with the interface of one.

    Args:
        number: how many.
        start: starts one, given what its environment has besides this process's.
    """

    def __init__(self, number: int, start: Start) -> None:
        self.returncode: int | None = None  # what ended them all; None while one runs
        self._failed_at: float | None = None
        self._killed: set[int] = set()  # ranks that did not end by themselves
        self._meeting = None if number == 1 else Path(tempfile.mkdtemp(prefix="vgan-"))
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(number):
                self._children.append(start(self._environment(rank, number)))
        except BaseException:
            self.kill()
            raise

    def _environment(self, rank: int, number: int) -> dict[str, str]:
        if self._meeting is None:
            return {}
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number}
        return {name: str(value) for name, value in places.items()} | {RENDEZVOUS: str(self._meeting / "ranks")}

    def poll(self) -> int | None:
        """The exit code, None while one of them runs; kills those that outlive another's failure for too long."""
        if self.returncode is not None:
            return self.returncode
        codes = [child.poll() for child in self._children]
        if any(codes) and self._failed_at is None:
            self._failed_at = time.monotonic()
        if None not in codes:
            return self._end({rank: code for rank, code in enumerate(codes) if code is not None})
        if self._failed_at is not None and time.monotonic() - self._failed_at > GRACE_SECONDS:
            self._killed |= {rank for rank, code in enumerate(codes) if code is None}
            self.kill()
        return None

    def _end(self, codes: dict[int, int]) -> int:
        own = [code for rank, code in codes.items() if rank not in self._killed]
        self.returncode = min(own or codes.values(), key=_weight)
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
