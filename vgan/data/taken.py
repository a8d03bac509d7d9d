"""What a decoding worker is asked and what it answers: one JSON line each way.

The pixels do not pass through the answer: the clips' payloads, ready for a shard, lie one after the other in
the spool file that the question names.
"""

from __future__ import annotations

from ..config import IngestConfig
from ..records import Record


class TakeRequest(Record):
    """Take this video."""

    path: str  # of a local file, as `names.text_of` writes it
    digest_sha256: str  # of its bytes when it was listed
    spool: str  # file to be made for the payloads, as `text_of` writes it
    config: IngestConfig


class TakenClip(Record):
    """Where a clip's payload lies in the spool, and what a shard's .json says of the clip."""

    offset: int
    size: int
    start_seconds: float  # presentation time of the first frame, since the video's first
    scene: int  # the stretch without cut or hole that it lies in, counted from 0
    statistics: dict[str, float]  # "brightness", "contrast", "motion", in levels 0 to 255


class TakenVideo(Record):
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


class Refused(Record):
    """A video that is not taken."""

    reason: str
    detail: str
    again: bool = False  # the next ingest should try again: the file was not there, or changed while it was read
