"""What a decoding worker is asked and what it answers: one JSON line each way.

The pixels do not pass through the answer: the clips' payloads, ready for a shard, lie one after the other in
the spool file that the question names. These are plain dataclasses, so that a worker starts without pydantic,
a third of its start; the asker checks every answer, for a worker is where strangers' files are decoded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ...config import IngestConfig


@dataclass(frozen=True)
class TakeRequest:
    """Take this video."""

    path: str  # of a local file, as `names.text_of` writes it
    digest_sha256: str  # of its bytes when it was listed
    spool: str  # file to be made for the payloads, as `text_of` writes it
    config: IngestConfig

    def to_json(self) -> bytes:
        """One line."""
        config = self.config.model_dump(mode="json") | {"stored_format": self.config.stored_format}
        return json.dumps({**vars(self), "config": config}).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes | str) -> TakeRequest:
        """What `to_json` gave; its config has the fields of one, and was checked by the asker."""
        fields: dict[str, Any] = json.loads(line)
        config = cast("IngestConfig", SimpleNamespace(**fields.pop("config")))
        return cls(**fields, config=config)


@dataclass(frozen=True)
class TakenClip:
    """Where a clip's payload lies in the spool, and what a shard's .json says of the clip."""

    offset: int
    size: int
    start_seconds: float  # presentation time of the first frame, since the video's first
    scene: int  # the stretch without cut or hole that it lies in, counted from 0
    statistics: dict[str, float]  # "brightness", "contrast", "motion", in levels 0 to 255


@dataclass(frozen=True)
class TakenVideo:
    """A video that gives at least one clip."""

    digest_sha256: str  # of the bytes that were decoded; another one than asked for when the file was replaced
    size_bytes: int
    content: str
    fingerprint: str
    marks: tuple[str, ...]
    codec: str
    width: int
    height: int
    fps: float
    seconds: float
    colour: str
    treatment: tuple[str, ...]
    frames_decoded: int
    decode_errors: int
    clips: tuple[TakenClip, ...]
    left_out: dict[str, int]

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Refused:
    """A video that is not taken."""

    reason: str
    detail: str
    again: bool = False  # the next ingest should try again: the file was not there, or changed while it was read

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(vars(self))
