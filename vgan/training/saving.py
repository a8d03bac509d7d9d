"""Saving checkpoints beside the training: the steps wait for a copy in memory, not for the hash and the disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Generator
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from ..errors import DivergedError, StorageError, VganError
from ..storage import atomic_file, fault_point, storage_errors, sweep_temporary, write_atomic
from ..workspace import RunFolder
from .manifest import KEPT, MANIFESTS, Checkpoint, compared
from .plan import RunConfig
from .snapshot import Snapshots, state_bytes, write_tensors
from .step import TrainState

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class CheckpointWriter:
    """Writes the checkpoints of one run, one at a time, in a thread of its own.

    A context: at its end the last checkpoint is written, or its error raised, unless something else
    ended the training. `seconds` is how long the training has waited for checkpoints so far.
    """

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        self.seconds = 0.0
        self._folder = folder
        self._made_with = compared(config)
        self._snapshots = Snapshots()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, state: TrainState, seconds: float) -> None:
        """Take the state after `state.steps` steps and the metrics up to here, and write them in the background.

        What was reported of these steps must be in metrics.jsonl already. Waits for the checkpoint before.

        Args:
            state: may be changed as soon as this returns.
            seconds: wall clock of training so far, all attempts together.

        Raises:
            StorageError: the checkpoint before could not be written.
            DivergedError: the state is not one to return to.
        """
        started = time.monotonic()
        self._join()
        state.guard.read()
        taken = self._snapshots.take(state)
        length = self._folder.metrics.stat().st_size if self._folder.metrics.exists() else 0
        self._thread = threading.Thread(
            target=self._work, args=(taken, state.steps, length, seconds), name=f"checkpoint-{state.steps}"
        )
        self._thread.start()
        self.seconds += time.monotonic() - started

    def wait(self) -> None:
        """Return when the last checkpoint is written; raises what went wrong with it."""
        started = time.monotonic()
        self._join()
        self.seconds += time.monotonic() - started

    def check(self) -> None:
        """Raise what went wrong with the last checkpoint, if it is known already; waits for nothing."""
        if self._error is not None:
            self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except VganError as own:
            if error is None or isinstance(error, StorageError):  # this one says how much room is needed
                raise
            log.error("%s", own)

    def _work(self, taken: dict[str, Tensor], steps: int, metrics_bytes: int, seconds: float) -> None:
        try:
            self._snapshots.wait()
            self._write(taken, steps, metrics_bytes, seconds)
        except BaseException as error:
            self._error = error

    def _write(self, taken: dict[str, Tensor], steps: int, metrics_bytes: int, seconds: float) -> None:
        _refuse_nan(taken, steps)
        stem = self._folder.checkpoints / f"{steps:08d}"
        with _telling_room(self._folder, steps, sum(value.nbytes for value in taken.values())):
            with atomic_file(stem.with_suffix(".safetensors")) as file:
                weights_sha256 = write_tensors(file, taken)
            fault_point("before_manifest")
            record = Checkpoint(
                made_with=self._made_with,
                steps=steps,
                weights_sha256=weights_sha256,
                metrics_bytes=metrics_bytes,
                metrics_sha256=_settle(self._folder.metrics, metrics_bytes),
                seconds=seconds,
            )
            write_atomic(stem.with_suffix(".json"), record.to_json())
        fault_point("before_removal")
        with storage_errors(self._folder.checkpoints, "removing old checkpoints in"):
            _remove_old(self._folder.checkpoints)


def _settle(metrics: Path, length: int) -> str:
    """sha256 of the first bytes of metrics.jsonl, once they would survive a power cut: the manifest counts on them."""
    if not metrics.exists():
        return hashlib.sha256(b"").hexdigest()
    with storage_errors(metrics, "writing"), open(metrics, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.sha256(file.read(length)).hexdigest()


def _refuse_nan(taken: dict[str, Tensor], steps: int) -> None:
    """A checkpoint to which nobody would want to return must not push out one that is good."""
    for name, value in taken.items():
        if value.is_floating_point() and value.element_size() >= 4 and np.isnan(value.numpy()).any():
            raise DivergedError(f"{name} has values that are no numbers after step {steps}.")


def _remove_old(folder: Path) -> None:
    for manifest in sorted(folder.glob(MANIFESTS))[:-KEPT]:
        manifest.unlink()  # before the tensors: a manifest never names what is gone
    for tensors in folder.glob("????????.safetensors"):
        if not tensors.with_suffix(".json").exists():
            tensors.unlink()
    sweep_temporary(folder)


@contextlib.contextmanager
def _telling_room(folder: RunFolder, steps: int, needed: int) -> Generator[None]:
    """Say of a full disk how much a checkpoint needs and how much there is."""
    try:
        yield
    except StorageError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in FULL:
            raise
        raise StorageError(
            f"{error.message} The checkpoint of step {steps} needs {in_megabytes(needed)}; "
            f"{in_megabytes(free_bytes(folder.path))} are free.",
            hint="Free some space or raise the limit on file sizes, then run the same command: it goes on from the "
            "checkpoint before, which is kept.",
        ) from cause


def warn_of_little_room(folder: RunFolder, state: TrainState) -> None:
    """Log a warning when the disk has no room for the checkpoints that are kept and the one being written."""
    there = len(list(folder.checkpoints.glob(MANIFESTS)))
    needed = state_bytes(state) * max(1, KEPT + 1 - there)
    free = free_bytes(folder.path)
    if free < needed:
        log.warning(
            "checkpoints need %s in %s, where %s are free: free some space, or training will stop when it is used up",
            in_megabytes(needed),
            folder.path,
            in_megabytes(free),
        )


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write where the folder lies."""
    with storage_errors(folder, "looking at"):
        return shutil.disk_usage(folder).free


def in_megabytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1e6:,.1f} MB"
