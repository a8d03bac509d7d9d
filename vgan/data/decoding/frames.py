"""The chosen frames of one video until its clips are cut, in memory that does not grow with its length.

Frames wait in memory up to a bound, then in a file without a name beside the spool.

Shape suffixes: N frames of a video, T frames of a clip, C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ...storage import storage_errors

Uint8 = npt.NDArray[np.uint8]
Look = Callable[[Sequence[int], Sequence[float], Uint8], None]

BLOCK_BYTES = 1 << 20  # of frames that are looked at together
MEMORY_BYTES = 64 << 20  # of frames kept in memory
# Blocks of earlier videos: memory that is fresh from the system costs more than what is done with a frame in it.
_spare: list[Uint8] = []


class FrameStore:
    """Takes frames one by one, shows them a block at a time, and gives out clips. The `with` block frees it all.

    Args:
        spool: beside it lies what memory does not hold.
        height, width: of the frames, in pixels.
        look: is shown each block: cells, seconds and uint8 [N, C, H, W], which it may not keep.
    """

    def __init__(self, spool: Path, height: int, width: int, look: Look) -> None:
        self.spool = spool
        self.look = look
        self.shape = (3, height, width)
        self.frame_bytes = 3 * height * width
        self.in_block = max(1, BLOCK_BYTES // self.frame_bytes)
        self.in_memory = max(1, MEMORY_BYTES // (self.frame_bytes * self.in_block))
        self.blocks: list[Uint8] = []  # the first ones, in memory
        self.file: IO[bytes] | None = None  # the others
        self.cells: list[int] = []  # of the frames that wait to be looked at
        self.seconds: list[float] = []
        self.waiting_NCHW = self._new_block()

    def _new_block(self) -> Uint8:
        while _spare:
            if (block_NCHW := _spare.pop()).shape == (self.in_block, *self.shape):
                return block_NCHW
        return np.empty((self.in_block, *self.shape), np.uint8)

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(self, *error: object) -> None:
        _spare.extend([*self.blocks, self.waiting_NCHW])
        if self.file:
            self.file.close()

    def add(self, cell: int, seconds: float, pixels_CHW: Uint8) -> None:
        """Append a frame."""
        self.waiting_NCHW[len(self.cells)] = pixels_CHW
        self.cells.append(cell)
        self.seconds.append(seconds)
        if len(self.cells) == self.in_block:
            self.flush()

    def flush(self) -> None:
        """Look at the frames that wait: a whole block, or the last ones of the video."""
        if not self.cells:
            return
        block_NCHW = self.waiting_NCHW[: len(self.cells)]
        self.look(self.cells, self.seconds, block_NCHW)
        self.cells.clear()
        self.seconds.clear()
        if len(self.blocks) < self.in_memory:
            self.blocks.append(self.waiting_NCHW)
            self.waiting_NCHW = self._new_block()
            return
        with storage_errors(self.spool, "writing frames beside"):
            if self.file is None:
                self.file = tempfile.TemporaryFile(dir=self.spool.parent, buffering=0)  # noqa: SIM115  __exit__ does
            left = block_NCHW.reshape(-1).data
            while left:
                left = left[self.file.write(left) :]

    def clip(self, first: int, frames: int) -> Uint8:
        """Frames `first` and following as a clip: uint8 [C, T, H, W], contiguous."""
        clip_CTHW = np.empty((3, frames, *self.shape[1:]), np.uint8)
        done = 0
        while done < frames:
            block, place = divmod(first + done, self.in_block)
            count = min(frames - done, self.in_block - place)
            if block < len(self.blocks):
                part_NCHW = self.blocks[block][place : place + count]
            else:
                part_NCHW = self._read(first + done - self.in_block * len(self.blocks), count)
            clip_CTHW[:, done : done + count] = part_NCHW.transpose(1, 0, 2, 3)
            done += count
        return clip_CTHW

    def _read(self, place: int, count: int) -> Uint8:
        assert self.file
        with storage_errors(self.spool, "reading frames beside"):
            content = os.pread(self.file.fileno(), count * self.frame_bytes, place * self.frame_bytes)
        return np.frombuffer(content, np.uint8).reshape(count, *self.shape)
