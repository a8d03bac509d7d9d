"""The clips of a video that wait, encoded, in the file that a worker wrote: out of there they go into a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import IngestConfig
from ...records import Video
from ...storage import storage_errors
from ..decoding.taken import Refused, TakenClip, TakenVideo
from ..planning.plan import Source
from ..shards.writer import NAME_DIGITS, Sample


@dataclass(frozen=True)
class Outcome:
    """A source, what became of it, and where its payloads wait."""

    source: Source
    answer: TakenVideo | Refused
    spool: Path


def samples_of(video: Video, outcome: Outcome, config: IngestConfig) -> Iterator[Sample]:
    """Samples of one video out of its spool, which is then removed; a payload lasts until the next is asked for."""
    taken = outcome.answer
    assert isinstance(taken, TakenVideo)
    buffer = bytearray(max(clip.size for clip in taken.clips))
    with storage_errors(outcome.spool, "reading"), open(outcome.spool, "rb", buffering=0) as file:
        for number, clip in enumerate(taken.clips):
            payload = memoryview(buffer)[: clip.size]
            file.seek(clip.offset)
            if file.readinto(payload) != clip.size:
                raise OSError(f"it ends inside clip {number}")
            key = f"{video.digest_sha256[:NAME_DIGITS]}-{number:05d}"
            yield Sample(key, config.stored_format, payload, _about(video, outcome.source, clip, config))
    outcome.spool.unlink(missing_ok=True)


def _about(video: Video, source: Source, clip: TakenClip, config: IngestConfig) -> dict[str, Any]:
    """What a shard says of a clip; of the video's names the first under which it was taken, whatever comes later."""
    return {
        "video": video.digest_sha256,
        "source": source.paths[0],
        "start_seconds": clip.start_seconds,
        "fps": config.fps,
        "scene": clip.scene,
        "label": video.label,
        "split": video.split,
        "statistics": clip.statistics,
    }
