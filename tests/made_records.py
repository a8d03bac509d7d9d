"""Records of videos that no test has to spell out."""

from __future__ import annotations

from typing import Any

from vgan.records import Video


def made_video(digest: str, **fields: Any) -> Video:
    """A plausible record of a video with one clip; `fields` change what a test is about."""
    plain: dict[str, Any] = {
        "digest_sha256": digest, "paths": (f"{digest[:16]}.mp4",), "copies": (), "size_bytes": 1, "content": digest,
        "fingerprint": "", "group": digest, "split": "train", "label": None, "licence": None, "consent": None,
        "marks": (), "codec": "h264", "width": 64, "height": 48, "fps": 8.0, "seconds": 1.0, "colour": "bt709 limited",
        "treatment": (), "frames_decoded": 8, "decode_errors": 0, "clips": 1, "motion": 3.0, "left_out": {},
    }  # fmt: skip
    return Video(**(plain | fields))
