"""Decoding workers: processes that take videos one after another and are lost instead of the one that asks.

A file that makes a decoder crash, hang or eat memory costs itself and nothing else: its worker is killed, a new one
goes on with the next. Nothing here loads a decoder or numpy.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ...errors import StoppedError, VganError
from ...media.child import Finished
from ..files.names import path_of, text_of
from .taken import Refused, TakenVideo, TakeRequest
from .worker_process import Worker


class DecoderPool:
    """Some workers; each takes one video at a time. Processes start when they are first needed.

    Args:
        workers: how many; None takes one for each core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._room = self.workers
        self._closed = False
        # The kernel ends a worker when the thread that started it ends: not the caller's, which may end before.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="vgan-start")

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def take(self, request: TakeRequest) -> TakenVideo | Refused:
        """Have a video taken; waits for an idle worker, then for its answer. Any thread may call it.

        A worker that dies of the video is replaced and the video tried once more in the new one, since an
        earlier file may have hurt the first. What is refused leaves no spool.

        Raises:
            StorageError: the spool cannot be written.
            ConfigError: workers cannot start (MissingToolError: a package is missing), or a tool for the format is.
            StoppedError: the pool was closed in the meantime.
        """
        worker = self._acquire()
        outcome: TakenVideo | Refused | None = None
        try:
            for _ in range(2):
                if worker is None or not worker.usable:
                    worker = self._replace(worker)
                answer = worker.ask(request)
                if not isinstance(answer, Finished):
                    outcome = answer
                    break
                self._refuse_closed()
                outcome = _crashed(answer)
        finally:
            if not isinstance(outcome, TakenVideo):
                Path(path_of(request.spool)).unlink(missing_ok=True)
            self._release(worker)
        assert outcome
        return outcome

    def close(self) -> None:
        """End all workers, busy ones in the middle of a video; `take` raises from then on, in any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            workers, idle = list(self._all), list(self._idle)
            self._all.clear()
            self._idle.clear()
        for worker in workers:
            worker.stop()
        for worker in idle:
            worker.end()
        for worker in workers:
            worker.child.wait()
        self._starter.shutdown(wait=True, cancel_futures=True)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoppedError("the decoding of videos was stopped.", hint="The same command goes on.")

    def _acquire(self) -> Worker | None:
        """An idle worker that nobody else uses until `_release`, or leave to start one (None)."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._room)
            self._refuse_closed()
            self._room -= 1
            return self._idle.pop() if self._idle else None

    def _release(self, worker: Worker | None) -> None:
        keep = worker is not None and worker.usable
        if worker and not keep:
            worker.stop()
            worker.end()
        with self._changed:
            self._room += 1
            if worker and (not keep or self._closed):
                self._all.discard(worker)
            elif worker:
                self._idle.append(worker)
            self._changed.notify()
        if worker and keep and self._closed:
            worker.stop()
            worker.end()

    def _replace(self, worker: Worker | None) -> Worker:
        if worker:
            worker.stop()
            worker.end()
        self._refuse_closed()
        try:
            fresh = self._starter.submit(Worker).result()
        except RuntimeError as error:  # the starter is shut down: closed, or the interpreter ends
            self._closed = True
            raise StoppedError("the decoding of videos was stopped.") from error
        with self._changed:
            if worker:
                self._all.discard(worker)
            self._all.add(fresh)
        try:
            self._refuse_closed()
            fresh.expect_ready()
        except BaseException as error:
            fresh.stop()
            fresh.end()
            with self._changed:
                self._all.discard(fresh)
            if isinstance(error, VganError):
                self._refuse_closed()
            raise
        return fresh


def _crashed(finished: Finished) -> Refused:
    """A video of which two workers died."""
    killed = finished.returncode == -9
    words = "" if killed else finished.last_words
    why = ", as by a system that is out of memory" if killed else f": {words}" if words else ""
    detail = f"the decoder died twice of it, {finished.ending}{why}"
    return Refused(reason="decoder_crashed", detail=text_of(detail)[:300], again=killed)


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_shared: dict[tuple[int, int], tuple[DecoderPool, int]] = {}  # by process and size: the pool and its users
_shared_lock = threading.Lock()


@contextmanager
def shared_pool(workers: int | None) -> Generator[DecoderPool]:
    """The pool of this process with so many workers; its last user closes it, so others must not be cut short."""
    key = (os.getpid(), workers or cores())
    with _shared_lock:
        pool, users = _shared.get(key) or (DecoderPool(key[1]), 0)
        _shared[key] = (pool, users + 1)
    try:
        yield pool
    finally:
        with _shared_lock:
            pool, users = _shared.pop(key)
            if users > 1:
                _shared[key] = (pool, users - 1)
        if users == 1:
            pool.close()
