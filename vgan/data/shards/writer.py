"""The one writer of shards: webdataset tars whose bytes depend on nothing but the clips in them.

A sample has the key `<first 16 hex digits of the video's sha256>-<clip number>` and two members: `.json`, what the
clip shows and where it was cut, then its pixels as `.npy`, `.jpg` or `.mp4`. Shards are named by their content, so
a shard that has its name is whole and is never written twice with other bytes.

The tars are plain ustar, which webdataset and every other reader open. They are not written by webdataset itself:
its writer imports torch, two seconds of every ingest, and copies each member in pieces of 16 kB, at half the speed.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from ...records import Shard, Split, canonical_json
from ...storage import atomic_file, fault_point
from .formats import Kind, Payload
from .tar_index import BLOCK, keys_digest

SHARD_BYTES = 256 << 20  # of payloads; a larger split of a batch goes into several shards
NAME_DIGITS = 16  # of a sha256, in names


@dataclass(frozen=True)
class Sample:
    """One clip on its way into a shard."""

    key: str
    kind: Kind
    payload: Payload  # as `formats.encode_clip` makes it
    about: dict[str, Any]  # plain JSON; "label" is counted in the shard's record


class _TarFile:
    """Writes regular members one after the other and keeps the sha256 of all bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def add(self, name: str, content: Payload) -> None:
        """Append a member; the header says nothing of when, where and by whom."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.uname, info.gname = len(content), 0o444, "vgan", "vgan"
        self._write(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
        self._write(content)
        self._write(bytes(-len(content) % BLOCK))

    def end(self) -> None:
        """Append the end of the archive, as long as tar's records ask for."""
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))

    def _write(self, content: Payload) -> None:
        self.digest.update(content)
        self.size += len(content)
        self.file.write(content)


def write_shards(folder: Path, split: Split, samples: Iterable[Sample]) -> list[Shard]:
    """Write samples in their order into as many shards as their size asks for; raises StorageError."""
    shards: list[Shard] = []
    rest = iter(samples)
    while first := next(rest, None):
        shards.append(_write_shard(folder, split, chain([first], rest)))
    return shards


def _write_shard(folder: Path, split: Split, samples: Iterator[Sample]) -> Shard:
    keys: list[str] = []
    labels: dict[str, int] = {}
    pixels = 0
    with atomic_file(folder / split, rename=lambda: folder / name()) as file:
        tar = _TarFile(file)

        def name() -> str:
            return f"{split}-{tar.digest.hexdigest()[:NAME_DIGITS]}.tar"

        for sample in samples:
            tar.add(f"{sample.key}.json", canonical_json(sample.about))
            tar.add(f"{sample.key}.{sample.kind}", sample.payload)
            fault_point("mid_shard")
            keys.append(sample.key)
            if (label := sample.about.get("label")) is not None:
                labels[label] = labels.get(label, 0) + 1
            pixels += len(sample.payload)
            if pixels >= SHARD_BYTES:
                break
        tar.end()
    return Shard(
        file=name(),
        split=split,
        sha256=tar.digest.hexdigest(),
        size_bytes=tar.size,
        samples=len(keys),
        keys_sha256=keys_digest(keys),
        labels=dict(sorted(labels.items())),
    )
