"""Saying by machine-readable metadata that a video is synthetic and which model made it.

The words are IPTC's: `digitalSourceType` with the code of media made by a trained model. They stand in the
container under their own keys and, since many tools keep only the comment, again in the comment as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from ..errors import BadInputError
from .ffmpeg import file_url, run

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
READ_SECONDS = 60.0
_KEYS = {key.lower(): key for key in ("digitalSourceType", "vgan_model", "vgan_run", "vgan_seed", "comment")}


def synthetic_metadata(model: str, version_or_run: str, seed: int) -> dict[str, str]:
    """Container tags for a generated video.

    Args:
        model: name of the model or of its data set.
        version_or_run: registered version or run key.
        seed: of this video.
    """
    marking = {
        "digitalSourceType": SYNTHETIC,
        "vgan_model": model,
        "vgan_run": version_or_run,
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
