"""From shards to batches, by index: the training's only reader.

The shards are ordinary webdataset tars and `webdataset.WebDataset(url).decode()` reads them too. Training does
not stream through it: a tar stream has no random access, so it shuffles only within a buffer, has no position
to resume at, and delivers 2,094 clips of 16 x 128 x 128 per second where indexed reads deliver 9,774. One
pass over the headers finds every clip; a batch is then a pure function of (seed, step), so a resumed run
sees exactly the clips that an uninterrupted one would.

Nothing in a shard is trusted: members are regular files with names of the one known pattern, bounded sizes and
raw uint8 pixels. There is no pickle and nothing is extracted.

Shape suffixes: N clips, C = 3 colours (RGB, uint8), T frames, H height, W width.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import CorruptDataError
from ..records import Dataset, Shard, Split
from ..storage import storage_errors
from ..workspace import DatasetFolder
from .formats import NPY_HEADER, npy_header
from .manifest import plain_batches
from .tar_index import Member, corrupt, index_shard, keys_digest

Uint8 = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

OPEN_SHARDS = 128  # kept open at once, well below the usual limit of 1,024 files


class ClipSet:
    """The clips of one split of a dataset version, by index.

    Args:
        folder: where the dataset lies.
        dataset: the version; only shards that it names are opened.
        split: "train" or "heldout".

    Raises:
        CorruptDataError: a shard is missing, or not what the version says of it.
    """

    def __init__(self, folder: DatasetFolder, dataset: Dataset, split: Split) -> None:
        config = dataset.config
        self._open: dict[int, int] = {}  # shard -> descriptor, in order of opening
        self._lock = threading.Lock()
        self.shape_CTHW = (3, config.frames, config.height, config.width)
        self.keys: list[str] = []
        self._paths: list[Path] = []
        places: list[tuple[int, int]] = []
        for shard in (shard for shard in dataset.shards if shard.split == split):
            offsets = self._index(folder.shards / shard.file, shard)
            places += [(len(self._paths), offset) for offset in offsets]
            self._paths.append(folder.shards / shard.file)
        self._places = np.asarray(places, np.int64).reshape(-1, 2)
        self.labels: Indices = _labels(folder, dataset, self.keys)

    def _index(self, path: Path, shard: Shard) -> list[int]:
        if not path.exists():
            raise CorruptDataError(f"shard {path} is missing.", hint="Run ingest again: it writes lost shards anew.")
        clips = [member for member in index_shard(path) if member.kind == "npy"]
        keys = [member.key for member in clips]
        if len(clips) != shard.samples or keys_digest(keys) != shard.keys_sha256:
            raise corrupt(path, f"it holds {len(clips)} other clips than the manifest's {shard.samples}")
        self.keys += keys
        with storage_errors(path, "reading"), open(path, "rb") as file:
            return [self._pixels(path, file, member) for member in clips]

    def _pixels(self, path: Path, file: io.BufferedReader, member: Member) -> int:
        """Offset of the pixels of a .npy member, whose header must say uint8 [3, T, H, W] in C order."""
        size = int(np.prod(self.shape_CTHW))
        header = os.pread(file.fileno(), NPY_HEADER, member.offset)
        if member.size != NPY_HEADER + size or header != npy_header(self.shape_CTHW):
            raise corrupt(path, f"{member.key}.npy is not uint8 {list(self.shape_CTHW)}")
        return member.offset + len(header)

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, indices: Sequence[int] | Indices) -> Uint8:
        """Pixels of these clips, uint8 [n, 3, T, H, W], straight from the files; safe in several threads."""
        batch_NCTHW = np.empty((len(indices), *self.shape_CTHW), np.uint8)
        for clip_CTHW, index in zip(batch_NCTHW, indices, strict=True):
            shard, offset = (int(value) for value in self._places[index])
            with storage_errors(self._paths[shard], "reading"), self._lock:
                read = os.preadv(self._descriptor(shard), [clip_CTHW.data], offset)
            if read != clip_CTHW.nbytes:
                raise corrupt(self._paths[shard], f"it ends inside {self.keys[index]}.npy")
        return batch_NCTHW

    def _descriptor(self, shard: int) -> int:
        if (descriptor := self._open.get(shard)) is not None:
            return descriptor
        while len(self._open) >= OPEN_SHARDS:
            os.close(self._open.pop(next(iter(self._open))))
        return self._open.setdefault(shard, os.open(self._paths[shard], os.O_RDONLY))

    def close(self) -> None:
        """Close the shards; a later `read` opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        self.close()


def _labels(folder: DatasetFolder, dataset: Dataset, keys: Sequence[str]) -> Indices:
    """The class of each clip as its place in `dataset.labels`; zeros without labels."""
    index = {label: place for place, label in enumerate(dataset.labels)}
    by_video = {
        video["digest_sha256"][:16]: index.get(video["label"] or "", 0)
        for batch in plain_batches(folder, dataset)
        for video in batch["videos"]
    }
    try:
        return np.asarray([by_video[key[:16]] for key in keys], np.int64)
    except KeyError as error:
        raise CorruptDataError(f"the manifest of {dataset.name} knows no video {error} of its shards.") from error


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
    places = np.arange(step * batch, (step + 1) * batch)
    indices = [int(epoch_order(num, seed, int(place // num))[place % num]) for place in places]
    return np.asarray(indices, np.int64)
