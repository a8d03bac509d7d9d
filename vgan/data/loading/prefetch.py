"""The batches of the next steps, read by one thread while the current step runs.

Which clips a step gets follows from (seed, step) alone: reading ahead changes when they are read, never what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..shards.formats import Uint8
from .loader import ClipSet, batch_indices

AHEAD = 2  # batches that are read, or being read, while one is in use


class Prefetcher:
    """Batches of a clip set as a function of (seed, step), from a few buffers that are used again and again.

    Args:
        clips: the set, not empty.
        batch: clips in a step.
        seed: of the run.
        buffers: AHEAD + 1 arrays uint8 [batch, 3, T, H, W] to read into, such as pinned memory; made when not given.
        part: which clips of each batch are read; the arrays are as long.
    """

    def __init__(
        self,
        clips: ClipSet,
        *,
        batch: int,
        seed: int,
        buffers: Sequence[Uint8] | None = None,
        part: slice = slice(None),
    ) -> None:
        self.clips, self.batch, self.seed, self.part = clips, batch, seed, part
        shape = (len(range(batch)[part]), *clips.shape_CTHW)
        self._free = list(buffers or (np.empty(shape, np.uint8) for _ in range(AHEAD + 1)))
        self._lent: list[Uint8] = []  # at most the one that the caller uses
        self._ahead: deque[tuple[int, Future[Uint8]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def at(self, step: int) -> Uint8:
        """uint8 clips [batch, 3, T, H, W] of a step, the caller's until the next call.

        Raises:
            CorruptDataError, StorageError: what reading the batch raised.
        """
        self._free += self._lent
        self._lent.clear()
        if not self._ahead or self._ahead[0][0] != step:
            self._restart(step)
        _, future = self._ahead.popleft()
        batch_BCTHW = future.result()
        self._lent.append(batch_BCTHW)
        self._read_ahead(step + 1)
        return batch_BCTHW

    def _restart(self, step: int) -> None:
        """Begin anew at a step that was not expected."""
        while self._ahead:
            self._free.append(self._ahead.popleft()[1].result())
        self._read_ahead(step)

    def _read_ahead(self, step: int) -> None:
        following = self._ahead[-1][0] + 1 if self._ahead else step
        while self._free:
            self._ahead.append((following, self._thread.submit(self._read, following, self._free.pop())))
            following += 1

    def _read(self, step: int, buffer: Uint8) -> Uint8:
        return self.clips.read(batch_indices(len(self.clips), self.batch, self.seed, step)[self.part], buffer)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)
