"""The manifest of a checkpoint: what was saved, when, and of which run. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CorruptDataError
from ..records import Record, digest_of, refuse_newer
from ..storage import read_bytes
from ..workspace import RunFolder

MANIFESTS = "????????.json"
KEPT = 3  # checkpoints of a run, the newest


class Checkpoint(Record):
    """The manifest of one checkpoint."""

    made_with: dict[str, Any]  # the RunConfig that it was made with, without what is not compared
    steps: int
    weights_sha256: str
    metrics_bytes: int  # length of metrics.jsonl at this step; what follows is cut off on resume
    metrics_sha256: str  # of these bytes
    seconds: float  # wall clock of training so far, all attempts together

    def to_json(self) -> bytes:
        """The record and its digest, so that a flipped bit in a field is not taken for another run's checkpoint."""
        return json.dumps(self.model_dump(mode="json") | {"digest": self.digest()}, indent=1, sort_keys=True).encode()


def newest(folder: RunFolder) -> Path | None:
    """Manifest of the newest checkpoint, None when there is none."""
    return max(folder.checkpoints.glob(MANIFESTS), default=None)


def read_manifest(path: Path) -> Checkpoint:
    """The record of a checkpoint.

    Raises:
        CorruptDataError: it is not as it was written.
        ConfigError: a newer vgan wrote it.
    """
    try:
        fields = json.loads(read_bytes(path))
        digest = fields.pop("digest")
        sound = bool(digest == digest_of(fields))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound, fields = False, {}
    if not sound:
        raise CorruptDataError(f"{path} is not the manifest that was written.")
    text = json.dumps(fields)
    refuse_newer(text, Checkpoint.__name__, str(path))
    return Checkpoint.from_json(text, str(path))
