"""The one writer of shards: webdataset tars whose bytes depend on nothing but the clips in them.

A sample has the key `<first 16 hex digits of the video's sha256>-<clip number>` and two members: `.npy`,
uint8 [C, T, H, W] pixels, and `.json`, what the clip shows and where it was cut. Shards are named by their
content, so a shard that has its name is whole and is never written twice with other bytes.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..records import Shard, Split, canonical_json
from ..storage import atomic_file, fault_point
from .loader import keys_digest

SHARD_BYTES = 256 << 20  # of pixels; a larger split of a batch goes into several shards
NAME_DIGITS = 16  # of a sha256, in names


@dataclass(frozen=True)
class Sample:
    """One clip on its way into a shard."""

    key: str
    clip_CTHW: npt.NDArray[np.uint8]
    about: dict[str, Any]  # plain JSON; "label" is counted in the shard's record


class _HashingFile:
    """Passes what is written on to a file and keeps its sha256."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_shards(folder: Path, split: Split, samples: Iterable[Sample]) -> list[Shard]:
    """Write samples in their order into as many shards as their size asks for; raises StorageError."""
    shards: list[Shard] = []
    rest = iter(samples)
    while first := next(rest, None):
        shards.append(_write_shard(folder, split, chain([first], rest)))
    return shards


def _write_shard(folder: Path, split: Split, samples: Iterator[Sample]) -> Shard:
    # webdataset imports torch where it is installed, which takes a second: only who writes pays.
    webdataset: Any = importlib.import_module("webdataset.writer")
    keys: list[str] = []
    labels: dict[str, int] = {}
    pixels = 0
    with atomic_file(folder / split, rename=lambda: folder / name()) as file:
        target = _HashingFile(file)

        def name() -> str:
            return f"{split}-{target.digest.hexdigest()[:NAME_DIGITS]}.tar"

        # An integer: a float would cost every member an extra header with the time of writing.
        options = {"encoder": False, "mtime": 0, "user": "vgan", "group": "vgan", "mode": 0o444}
        with webdataset.TarWriter(target, **options) as writer:
            for sample in samples:
                npy, about = _npy(sample.clip_CTHW), canonical_json(sample.about)
                writer.write({"__key__": sample.key, "npy": npy, "json": about})
                fault_point("mid_shard")
                keys.append(sample.key)
                if (label := sample.about.get("label")) is not None:
                    labels[label] = labels.get(label, 0) + 1
                pixels += sample.clip_CTHW.nbytes
                if pixels >= SHARD_BYTES:
                    break
    return Shard(
        file=name(),
        split=split,
        sha256=target.digest.hexdigest(),
        size_bytes=target.size,
        samples=len(keys),
        keys_sha256=keys_digest(keys),
        labels=dict(sorted(labels.items())),
    )


def _npy(clip_CTHW: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, clip_CTHW, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
