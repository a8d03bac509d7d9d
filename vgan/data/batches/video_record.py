"""The record of a video: how it is made of what was taken, and what may be said otherwise of it later."""

from __future__ import annotations

from ...records import Split, Video
from ..decoding.taken import TakenVideo
from ..planning.plan import Source


def video_of(source: Source, taken: TakenVideo, group: str, split: Split) -> Video:
    """The record of a video that was taken from a source."""
    motion = sum(clip.statistics["motion"] for clip in taken.clips) / len(taken.clips)
    return Video(
        digest_sha256=taken.digest_sha256,
        paths=source.paths,
        copies=(),
        size_bytes=taken.size_bytes,
        content=taken.content,
        fingerprint=taken.fingerprint,
        group=group,
        split=split,
        label=source.label,
        licence=source.licence,
        consent=source.consent,
        marks=taken.marks,
        codec=taken.codec,
        width=taken.width,
        height=taken.height,
        fps=taken.fps,
        seconds=taken.seconds,
        colour=taken.colour,
        treatment=taken.treatment,
        frames_decoded=taken.frames_decoded,
        decode_errors=taken.decode_errors,
        clips=len(taken.clips),
        motion=round(motion, 3),
        left_out=taken.left_out,
    )


def with_copy(video: Video, digest: str, paths: tuple[str, ...], copies: tuple[str, ...] = ()) -> Video:
    """The record of a video of which another copy, with these names and copies of its own, was found."""
    others = {*video.copies, digest, *copies} - {video.digest_sha256}
    names = {*video.paths, *paths}
    return video.model_copy(update={"paths": tuple(sorted(names)), "copies": tuple(sorted(others))})


def as_said(video: Video, said: Source | None) -> Video:
    """The record with the names, label, licence and consent that it has now; None: with those that it had."""
    if said is None:
        return video
    now = {"paths": said.paths, "label": said.label, "licence": said.licence, "consent": said.consent}
    return video.model_copy(update=now)
