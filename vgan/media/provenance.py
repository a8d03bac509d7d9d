"""Saying by machine-readable metadata that a video is synthetic and which model made it.

The words are IPTC's: `digitalSourceType` with the code of media made by a trained model. They stand in the
container under their own keys and, since many tools keep only the comment, again in the comment as JSON.
Marks of others are found where they put them: container tags, XMP, and C2PA manifests.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ..errors import BadInputError
from .ffmpeg import file_url, run
from .xmp import XMP_BOX

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
READ_SECONDS = 60.0
C2PA_BOX = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes  # C2PA specification, "Embedding into BMFF"
MOST_BOXES = 10_000
MOST_BYTES = 16 << 20  # of boxes read from one file
# Made by a trained model, whole or in part; with the vocabulary's name before it, as XMP and manifests write it.
_TRAINED = re.compile(rb"(?:trained|compositeWithTrained)AlgorithmicMedia", re.I)
_TRAINED_URL = re.compile(rb"digitalsourcetype[/:](?:trained|compositeWithTrained)AlgorithmicMedia", re.I)
_OURS = ("digitalSourceType", "vgan_model", "vgan_model_version", "vgan_run", "vgan_seed", "comment")
_KEYS = {key.lower(): key for key in _OURS}


def synthetic_metadata(model: str, run: str, seed: int, version: str = "") -> dict[str, str]:
    """Container tags for a generated video.

    Args:
        model: name of the model or of its data set.
        run: key of the run that trained it.
        seed: of this video.
        version: of the registered model; "" for one that is not registered, whose tags then name none.
    """
    marking = {
        "digitalSourceType": SYNTHETIC,
        "vgan_model": model,
        **({"vgan_model_version": version} if version else {}),
        "vgan_run": run,
        "vgan_seed": str(seed),
    }
    return {**marking, "comment": json.dumps(marking, sort_keys=True)}


def read_marking(path: Path) -> dict[str, str]:
    """The marking of a video, without the comment that repeats it; {} for a video that has none.

    Raises:
        BadInputError: the file is no video.
    """
    guards = ["-protocol_whitelist", "file", "-format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"]
    output, finished = run(
        ["-loglevel", "level+error", *guards, "-i", file_url(path), "-f", "ffmetadata", "pipe:1"], timeout=READ_SECONDS
    )
    if finished.returncode:
        raise BadInputError(f"{path} cannot be read as a video: {finished.first_error}.")
    tags = _parse(output.decode(errors="replace"))
    # Matroska writes keys in capitals.
    found = {_KEYS[key.lower()]: value for key, value in tags.items() if key.lower() in _KEYS}
    comment = found.pop("comment", "")
    return found or _from_comment(comment)


def _parse(text: str) -> dict[str, str]:
    """Global tags of an ffmetadata text: `key=value` lines in which a backslash guards the next character."""
    tags: dict[str, str] = {}
    for line in text.replace("\\\n", "\0").splitlines()[1:]:
        if line.startswith("["):
            break
        key, _, value = line.partition("=")
        tags[key] = _unescape(value)
    return tags


def _unescape(value: str) -> str:
    plain: list[str] = []
    characters = iter(value.replace("\0", "\n"))
    for character in characters:
        plain.append(next(characters, "") if character == "\\" else character)
    return "".join(plain)


def _from_comment(comment: str) -> dict[str, str]:
    try:
        marking: Any = json.loads(comment)
    except ValueError:
        return {}
    if not isinstance(marking, dict) or "digitalSourceType" not in marking:
        return {}
    return {str(key): str(value) for key, value in cast(dict[Any, Any], marking).items()}


def read_marks(path: Path, tags: Mapping[str, str]) -> tuple[str, ...]:
    """What a video says of its making, sorted.

    "c2pa": it carries a C2PA manifest (mp4 and mov), which is not verified. "c2pa-ai": the manifest names a
    trained model as a source. "iptc-ai": its tags or its XMP give it IPTC's source type of media that a trained
    model made, whole or in part.

    Args:
        path: of a local file; of an mp4 or mov a few boxes are read, never the media, of others nothing.
        tags: of the container, as the decoder reports them.

    Raises:
        OSError: the file cannot be read.
    """
    marks = {"iptc-ai"} if any(says_trained(key, value) for key, value in tags.items()) else set[str]()
    with path.open("rb") as file:
        for box in _marking_boxes(file):
            if box.kind == C2PA_BOX:
                marks |= {"c2pa", "c2pa-ai"} if _TRAINED.search(box.content) else {"c2pa"}
            elif _TRAINED_URL.search(box.content):
                marks.add("iptc-ai")
    return tuple(sorted(marks))


def says_trained(key: str, value: str) -> bool:
    """Whether a tag says that a trained model made the media, whole or in part."""
    content = value.encode(errors="replace")
    if key.lower().endswith("digitalsourcetype"):
        return bool(_TRAINED.search(content))
    return bool(_TRAINED_URL.search(content))


@dataclass(frozen=True)
class _Box:
    """A box of an ISO base media file (ISO/IEC 14496-12, 4.2)."""

    kind: bytes  # four characters, or sixteen bytes of a "uuid" box
    content: bytes


def _marking_boxes(file: IO[bytes]) -> Iterator[_Box]:
    """XMP and C2PA boxes at the top, in moov and in moov/udta; sizes are checked, never trusted."""
    room, boxes = MOST_BYTES, 0
    waiting = [(0, file.seek(0, 2))]
    while waiting:
        start, end = waiting.pop()
        while end - start >= 8 and boxes < MOST_BOXES:
            boxes += 1
            file.seek(start)
            kind, header, size = _box_header(file.read(32), end - start)
            if size < header:
                break
            if kind in (b"moov", b"udta"):
                waiting.append((start + header, start + size))
            elif kind in (C2PA_BOX, XMP_BOX, b"XMP_"):
                file.seek(start + header)
                content = file.read(min(size - header, room))
                room -= len(content)
                yield _Box(kind, content)
            start += size


def _box_header(head: bytes, room: int) -> tuple[bytes, int, int]:
    """Kind, bytes of the header, and bytes of the whole box, at most `room`; size 0 when it is no box."""
    size, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
    if size == 1:  # a 64-bit size follows
        size, header = int.from_bytes(head[8:16], "big"), 16
    elif size == 0:  # to the end of the file
        size = room
    if kind == b"uuid":
        kind, header = head[header : header + 16], header + 16
    return kind, header, min(size, room)
