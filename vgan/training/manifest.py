"""The manifest of a checkpoint: what was saved, when, of which run, and whether it is still so. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..errors import ConfigError, CorruptDataError
from ..records import Record, digest_of, refuse_newer
from ..storage import read_bytes
from ..workspace import RunFolder
from .plan import NOT_LEARNED, RunConfig

log = logging.getLogger(__name__)

MANIFESTS = "????????.json"
KEPT = 3  # checkpoints of a run, the newest
# The run's key says which weights `init` names, whatever their name is now.
NOT_COMPARED = NOT_LEARNED | {"init"}
FIELDS_SHOWN = 12


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


def newest_sound(folder: RunFolder, check: Callable[[Path], Checkpoint]) -> Checkpoint | None:
    """The newest checkpoint that is not damaged, None when the run has none yet; damaged ones are warned of.

    Args:
        folder: of the run.
        check: reads the checkpoint of a manifest, and raises CorruptDataError for a damaged one.

    Raises:
        CorruptDataError: there are checkpoints and none is valid.
    """
    manifests = sorted(folder.checkpoints.glob(MANIFESTS), reverse=True)
    for manifest in manifests:
        try:
            return check(manifest)
        except CorruptDataError as error:
            log.warning("passing over checkpoint %s: %s", manifest.stem, error)
    if manifests:
        raise CorruptDataError(
            f"none of the {len(manifests)} checkpoints in {folder.checkpoints} is valid.",
            hint=f"Restore one from a backup, or remove {folder.path} to train from the beginning.",
        )
    return None


def read_checked(folder: RunFolder, manifest: Path, config: RunConfig) -> tuple[Checkpoint, bytes]:
    """The record of a checkpoint and the content of its file, which are as they were written.

    Raises:
        CorruptDataError: the manifest, the file or the metrics before it are damaged.
        ConfigError: it is sound, but of another run or a newer vgan.
    """
    record = read_manifest(manifest)
    if record.steps != int(manifest.stem):
        raise CorruptDataError(f"it is of step {record.steps}.")
    _refuse_foreign(record, manifest, config)
    metrics = folder.metrics.read_bytes()[: record.metrics_bytes] if folder.metrics.exists() else b""
    if hashlib.sha256(metrics).hexdigest() != record.metrics_sha256:
        raise CorruptDataError(f"{folder.metrics} does not begin with the lines that it had then.")
    path = manifest.with_suffix(".safetensors")
    if not path.exists():
        raise CorruptDataError(f"{path} is missing.")
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise CorruptDataError(f"{path} does not have the recorded sha256.")
    return record, content


def compared(config: RunConfig) -> dict[str, Any]:
    """What of a run must be equal for a checkpoint to be taken: all but NOT_COMPARED."""
    fields = config.model_dump(mode="json")
    asked = {name: value for name, value in fields["config"].items() if name not in NOT_COMPARED}
    return fields | {"config": asked}


def _refuse_foreign(record: Checkpoint, manifest: Path, config: RunConfig) -> None:
    was, now = _flat(record.made_with), _flat(compared(config))
    differing = [
        f"{name}: {was.get(name, '(not there)')} -> {now.get(name, '(not there)')}"
        for name in sorted(was.keys() | now.keys())
        if name not in was or name not in now or was[name] != now[name]
    ]
    if differing:
        more = [f"and {len(differing) - FIELDS_SHOWN} more"] if differing[FIELDS_SHOWN:] else []
        raise ConfigError(
            f"checkpoint {manifest} was made for another run; {len(differing)} fields differ (its -> this run's): "
            f"{'; '.join(differing[:FIELDS_SHOWN] + more)}.",
            hint="Move it back to the run that it belongs to; to start from its weights, name it with --init.",
        )


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested JSON objects by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            leaves |= _flat(cast(dict[str, Any], value), f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves
