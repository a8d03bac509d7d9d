"""From shards to batches, by index: the training's only reader.

The shards are ordinary webdataset tars, and `webdataset.WebDataset(url).decode()` reads them too. Training does
not stream through it: a tar stream has no random access, so it shuffles only within a buffer, has no position
to resume at, and copies every clip several times. One pass over the headers finds every clip; a batch is then a
pure function of (seed, step), so a resumed run sees exactly the clips that an uninterrupted one would. Raw clips
are read straight into the batch; jpeg strips and mp4 are decoded into it by a few threads.

Nothing in a shard is trusted: see `tar_index` and `formats`.

Shape suffixes: N clips, C = 3 colours (RGB, uint8), T frames, H height, W width.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import CorruptDataError
from ...records import Dataset, Shard, Split
from ...storage import sha256_file, storage_errors
from ...workspace import DatasetFolder
from ..manifest import plain_batches
from ..shards.formats import NPY_HEADER, Kind, Uint8, decode_clip, npy_header
from ..shards.tar_index import Member, corrupt, index_shard, keys_digest

Indices = npt.NDArray[np.int64]

OPEN_SHARDS = 128  # kept open at once, well below the usual limit of 1,024 files
DECODERS = 8  # threads at most; Pillow and PyAV decode outside the interpreter's lock
SLACK = 1 << 16  # bytes by which a compressed clip may be larger than its pixels


class ClipSet:
    """The clips of one split of a dataset version, by index. Safe in several threads.

    Args:
        folder: where the dataset lies.
        dataset: the version; only shards that it names are opened.
        split: "train" or "heldout".
        check: also compare the sha256 of each shard, which reads all of it.

    Raises:
        CorruptDataError: a shard is missing, or not what the version says of it.
    """

    def __init__(self, folder: DatasetFolder, dataset: Dataset, split: Split, *, check: bool = True) -> None:
        config = dataset.config
        self._open: dict[int, _Descriptor] = {}  # by shard, in order of opening
        self._lock = threading.Lock()
        self._decoders: ThreadPoolExecutor | None = None
        self.kind: Kind = config.stored_format
        self.shape_CTHW = (3, config.frames, config.height, config.width)
        self.keys: list[str] = []
        shards = [shard for shard in dataset.shards if shard.split == split]
        self._paths = [_path_of(folder, shard) for shard in shards]
        _check_sizes(self._paths, shards)
        if check:
            _check_digests(self._paths, shards)
        found = [self._index(path, shard) for path, shard in zip(self._paths, shards, strict=True)]
        self._places = np.concatenate([np.empty((0, 3), np.int64), *found])  # shard, offset and size of each clip
        self._places[:, 0] = np.repeat(np.arange(len(shards)), [len(places) for places in found])
        self.labels: Indices = _labels(folder, dataset, self.keys)

    def _index(self, path: Path, shard: Shard) -> Indices:
        """Offset and size of each clip of a shard, behind a column for the shard's number."""
        clips = index_shard(path)[1::2]
        keys = [member.key for member in clips]
        if len(clips) != shard.samples or keys_digest(keys) != shard.keys_sha256:
            raise corrupt(path, f"it holds {len(clips)} other clips than the manifest's {shard.samples}")
        self._check_members(path, clips)
        self.keys += keys
        start = NPY_HEADER if self.kind == "npy" else 0
        return np.asarray([(0, clip.offset + start, clip.size - start) for clip in clips], np.int64).reshape(-1, 3)

    def _check_members(self, path: Path, clips: Sequence[Member]) -> None:
        """Raise CorruptDataError unless all are of the version's kind, and of its shape as far as is seen unopened."""
        pixels = int(np.prod(self.shape_CTHW))
        shape = f"uint8 {list(self.shape_CTHW)}"
        for clip in clips:
            fits = clip.size == NPY_HEADER + pixels if self.kind == "npy" else clip.size <= pixels + SLACK
            if clip.kind != self.kind or not fits:
                raise corrupt(path, f"{clip.key}.{clip.kind} with {clip.size} bytes is not {shape} as {self.kind}")
        if self.kind == "npy":
            header = npy_header(self.shape_CTHW)
            with storage_errors(path, "reading"), open(path, "rb", buffering=0) as file:
                for clip in clips:
                    if os.pread(file.fileno(), NPY_HEADER, clip.offset) != header:
                        raise corrupt(path, f"{clip.key}.npy is not {shape}")

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, indices: Sequence[int] | Indices, out: Uint8 | None = None) -> Uint8:
        """Pixels of these clips, uint8 [n, 3, T, H, W], in `out` if it is given: contiguous, of that shape.

        Raises:
            CorruptDataError: a clip is not what the index said; names its shard.
            StorageError: a shard cannot be read.
        """
        batch_NCTHW = np.empty((len(indices), *self.shape_CTHW), np.uint8) if out is None else out
        if self.kind == "npy" or len(indices) < 2:
            for clip_CTHW, index in zip(batch_NCTHW, indices, strict=True):
                self._read_clip(clip_CTHW, index)
        else:
            # list() waits for all, and raises what the first one raised.
            list(self._pool().map(self._read_clip, batch_NCTHW, indices))
        return batch_NCTHW

    def _read_clip(self, clip_CTHW: Uint8, index: int | np.int64) -> None:
        shard, offset, size = (int(value) for value in self._places[index])
        payload = clip_CTHW.data if self.kind == "npy" else bytearray(size)
        with storage_errors(self._paths[shard], "reading"):
            descriptor = self._descriptor(shard)  # kept in a name: it closes its file with the last reference
            read = os.preadv(descriptor.number, [payload], offset)
        if read != size:
            raise corrupt(self._paths[shard], f"it ends inside {self.keys[index]}.{self.kind}")
        if self.kind != "npy":
            try:
                decode_clip(memoryview(payload), self.kind, clip_CTHW)
            except CorruptDataError as error:
                raise corrupt(
                    self._paths[shard], f"{self.keys[index]}.{self.kind} is {error.message.rstrip('.')}"
                ) from error

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._decoders is None:
                threads = min(DECODERS, os.cpu_count() or 1)
                self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode-clips")
            return self._decoders

    def _descriptor(self, shard: int) -> _Descriptor:
        with self._lock:
            if (descriptor := self._open.get(shard)) is not None:
                return descriptor
            while len(self._open) >= OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
            return self._open.setdefault(shard, _Descriptor(self._paths[shard]))

    def close(self) -> None:
        """Close the shards and end the threads; a later `read` opens them again."""
        with self._lock:
            self._open.clear()
            decoders, self._decoders = self._decoders, None
        if decoders is not None:
            decoders.shutdown()


class _Descriptor:
    """An open file, closed when nobody refers to it: a thread may still read what another one has put away."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _path_of(folder: DatasetFolder, shard: Shard) -> Path:
    # The name comes out of a file: it must not lead anywhere else.
    if os.sep in shard.file or shard.file in ("", ".", ".."):
        raise CorruptDataError(f"the manifest names the shard {shard.file[:80]!r}, which is no file name.")
    return folder.shards / shard.file


def _check_sizes(paths: Sequence[Path], shards: Sequence[Shard]) -> None:
    for path, shard in zip(paths, shards, strict=True):
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            hint = "Run ingest again: it writes lost shards anew."
            raise CorruptDataError(f"shard {path} is missing.", hint=hint) from error
        if size != shard.size_bytes or not path.is_file():
            raise corrupt(path, f"it has {size} bytes instead of {shard.size_bytes}")


def _check_digests(paths: Sequence[Path], shards: Sequence[Shard]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, shard, digest in zip(paths, shards, pool.map(sha256_file, paths), strict=True):
            if digest != shard.sha256:
                raise corrupt(path, "its sha256 is not the manifest's")


def _labels(folder: DatasetFolder, dataset: Dataset, keys: Sequence[str]) -> Indices:
    """The class of each clip as its place in `dataset.labels`; zeros without labels."""
    if not dataset.labels:
        return np.zeros(len(keys), np.int64)
    index = {label: place for place, label in enumerate(dataset.labels)}
    by_video = {
        video["digest_sha256"][:16]: index.get(video["label"] or "", 0)
        for batch in plain_batches(folder, dataset)
        for video in batch["videos"]
    }
    try:
        return np.asarray([by_video[key[:16]] for key in keys], np.int64)
    except KeyError as error:
        raise CorruptDataError(f"the records of {dataset.name} know no video {error} of its shards.") from error


@lru_cache(maxsize=4)
def epoch_order(num: int, seed: int, epoch: int) -> Indices:
    """The order of `num` clips in one epoch: a permutation, a function of (seed, epoch) alone; not to be changed."""
    order = np.random.default_rng([seed, epoch]).permutation(num)
    order.flags.writeable = False
    return order


def batch_indices(num: int, batch: int, seed: int, step: int) -> Indices:
    """The clips of one step: `batch` places of the endless row of epochs; a function of its arguments alone.

    Args:
        num: clips in the set, at least 1.
        batch: clips in a step; an epoch's last batch is filled from the next epoch.
        seed: of the run.
        step: counted from 0.
    """
    start, end = step * batch, (step + 1) * batch
    epochs = range(start // num, (end - 1) // num + 1)
    row = [epoch_order(num, seed, epoch)[max(start - epoch * num, 0) : max(end - epoch * num, 0)] for epoch in epochs]
    return np.concatenate(row)
