"""What lies where in a shard: one pass over the headers of a tar, and nothing in it is trusted.

Members are regular files with names of the one known pattern and bounded sizes, a description and the pixels of
each clip in turn. Nothing is extracted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CorruptDataError
from ...storage import storage_errors

BLOCK = 512  # of a tar
JSON_BYTES = 1 << 20  # more is not a description of a clip
_MEMBER = re.compile(r"([0-9a-f]{16}-\d{5,7})\.(json|npy|jpg|mp4)")


@dataclass(frozen=True)
class Member:
    """Where a file lies in a shard."""

    key: str
    kind: str  # "json", or how the pixels are stored: "npy", "jpg" or "mp4"
    offset: int
    size: int


def index_shard(path: Path) -> list[Member]:
    """Every member of a shard, in order; the file is read once, header by header.

    Raises:
        CorruptDataError: anything but pairs of regular `<key>.json` and pixels of one kind, whole and in order.
        StorageError: the file cannot be read.
    """
    with storage_errors(path, "reading"), open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        members = list(_members(path, file, length))
    kinds = [member.kind for member in members]
    keys = [member.key for member in members]
    pair = kinds[:2]
    fits = not members or (pair[0] == "json" and pair[-1] != "json" and kinds == pair * (len(members) // 2))
    if not fits or keys[::2] != keys[1::2] or len(set(keys)) * 2 != len(keys):
        raise corrupt(path, "its members are not one .json and one .npy, .jpg or .mp4 for each key")
    return members


def _members(path: Path, file: io.BufferedReader, length: int) -> Iterator[Member]:
    position = 0
    while (header := file.read(BLOCK)).strip(b"\0"):
        member = _parse_header(path, header, position)
        position = member.offset + -(-member.size // BLOCK) * BLOCK
        if position > length:
            raise corrupt(path, f"it ends inside {member.key}.{member.kind}")
        yield member
        file.seek(position)
    # A zeroed header in the middle looks like the end of the archive to every tar reader.
    if len(header) < BLOCK or file.read().strip(b"\0"):
        raise corrupt(path, f"it has no proper end after byte {position}")


def _parse_header(path: Path, header: bytes, position: int) -> Member:
    try:
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise corrupt(path, f"the header at byte {position} is damaged") from error
    match = _MEMBER.fullmatch(info.name)
    if not match or info.type != tarfile.REGTYPE:
        raise corrupt(path, f"{info.name[:80]!r} at byte {position} is not a regular <key>.json, .npy, .jpg or .mp4")
    if info.size < 0 or (match[2] == "json" and info.size > JSON_BYTES):
        raise corrupt(path, f"{info.name} claims {info.size} bytes")
    return Member(match[1], match[2], position + BLOCK, info.size)


def corrupt(path: Path, what: str) -> CorruptDataError:
    """The error for a shard in which something is wrong."""
    return CorruptDataError(
        f"shard {path} is not as it was written: {what}.", hint="Run ingest again: it writes damaged shards anew."
    )


def keys_digest(keys: Sequence[str]) -> str:
    """sha256 of sample keys in order, one a line: what a manifest says of a shard."""
    return hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()
