"""How videos become clips."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .spec import Spec

JPEG_HEIGHT = 65_500  # more is no JPEG


def _check_regex(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    return pattern


class IngestConfig(Spec):
    """How videos become clips. Two ingests with equal fields make the same bytes."""

    frames: int = Field(default=16, title="Frames per clip", ge=2, le=256, description="Frames in one clip.")
    height: int = Field(
        default=64, title="Height in pixels", ge=16, le=1024, multiple_of=8, description="Height of a clip in pixels."
    )
    width: int = Field(
        default=64, title="Width in pixels", ge=16, le=1024, multiple_of=8, description="Width of a clip in pixels."
    )
    fps: float = Field(
        default=8.0,
        title="Frames per second",
        gt=0,
        le=120,
        description="Frames per second of a clip, chosen by presentation time.",
    )
    stride: float = Field(
        default=1.0,
        title="Stride in seconds",
        gt=0,
        le=3600,
        description="Seconds between the starts of two clips of one video.",
    )
    labels: Literal["none", "folder", "sidecar"] = Field(
        default="none",
        title="Labels",
        description="'folder' takes each video's parent folder as its class, 'sidecar' the label column of the sidecar "
        "file; 'none' trains without classes.",
    )
    sidecar: str | None = Field(
        default=None,
        title="Sidecar file",
        description="CSV or JSON-lines file (path or URL) with one row a video: path, and any of label, licence and "
        "consent, which are kept in the dataset.",
    )
    group_by: Annotated[str | None, AfterValidator(_check_regex)] = Field(
        default=None,
        title="Group by",
        description="Regular expression searched in each path; videos with equal matches "
        "(for example 'person\\d+') stay on the same side of the train/held-out split.",
    )
    heldout: float = Field(
        default=0.2,
        title="Held-out share",
        gt=0,
        le=0.5,
        description="Share of the content groups that is held out for evaluation.",
    )
    format: Literal["auto", "npy", "jpg", "mp4"] = Field(
        default="auto",
        title="Format of stored clips",
        description="How a clip is stored: 'npy' exact pixels, 'jpg' one strip of all frames at quality 95, 'mp4' "
        "H.264; 'auto' takes npy for clips of fewer than 256 x 256 pixels, else jpg.",
    )
    crop: Literal["centre", "borders"] = Field(
        default="centre",
        title="Crop",
        description="'centre' crops the middle of the picture to the clip's shape; 'borders' first takes off black "
        "bars.",
    )
    scene_threshold: float = Field(
        default=10.0,
        title="Scene cut threshold",
        gt=0,
        le=100,
        description="Cut score between chosen frames (0 to 100, much as ffmpeg's scdet) above which no clip goes on.",
    )
    min_motion: float = Field(
        default=0.2,
        title="Least motion",
        ge=0,
        le=255,
        description="Least mean change from frame to frame, in levels (0 to 255), of a clip that is kept; 0 keeps "
        "still ones.",
    )
    max_clips_per_video: int | None = Field(
        default=None,
        title="Most clips per video",
        ge=1,
        le=1_000_000,
        description="At most so many clips of one video, evenly spread over it; empty takes all.",
    )
    max_seconds: float = Field(
        default=14_400.0,
        title="Most seconds per video",
        gt=0,
        le=360_000,
        description="Seconds of one video that are read; the rest is left out.",
    )
    exclude_synthetic: bool = Field(
        default=False,
        title="Reject AI-generated videos",
        description="Reject videos that say by IPTC or C2PA metadata that they are AI-generated.",
    )
    missing: Literal["drop", "keep"] = Field(
        default="drop",
        title="Videos that have gone",
        description="What happens to known videos that are no longer in the folder: 'drop' leaves them out of the next "
        "version, 'keep' keeps their clips.",
    )
    max_missing: float = Field(
        default=0.5,
        title="Most videos that have gone, as a share",
        ge=0,
        le=1,
        description="Share of the folder's known videos that may have vanished before the run stops and asks.",
    )
    max_rejected: float = Field(
        default=0.5,
        title="Most rejected videos, as a share",
        ge=0,
        le=1,
        description="Share of new videos that may be rejected before the run stops and asks.",
    )
    follow_outside: bool = Field(
        default=False,
        title="Follow links out of the folder",
        description="Follow links that lead out of the videos' folder instead of rejecting them.",
    )
    videos_per_batch: int = Field(
        default=64,
        title="Videos per batch",
        ge=1,
        le=10_000,
        description="Videos in one batch: the unit of work, of retry and of commit.",
    )
    video_timeout: float = Field(
        default=1800.0,
        title="Timeout per video in seconds",
        gt=0,
        le=86_400,
        description="Seconds that the decoding of one video may take.",
    )
    workers: int | None = Field(
        default=None,
        title="Videos decoded at a time",
        ge=1,
        le=1024,
        description="Videos decoded at a time; empty takes one for each core. On a cluster: by each batch, and empty "
        "takes one.",
    )
    runner: Literal["threads", "dask", "ray"] = Field(
        default="threads",
        title="Runner",
        description="Where batches are decoded: 'threads' on this machine, 'dask' or 'ray' on a cluster whose machines "
        "all see the workspace. The clips are the same.",
    )
    runner_address: str | None = Field(
        default=None,
        title="Cluster address",
        max_length=500,
        description="Running cluster that 'dask' or 'ray' uses, such as tcp://10.0.0.5:8786 or ray://10.0.0.5:10001; "
        "empty starts one on this machine for the length of the run.",
    )

    @property
    def stored_format(self) -> Literal["npy", "jpg", "mp4"]:
        """`format` with 'auto' resolved: by the size of a clip alone, so that it is the same on every machine."""
        if self.format != "auto":
            return self.format
        return "npy" if self.height * self.width < 256 * 256 else "jpg"

    @model_validator(mode="after")
    def _check_sidecar(self) -> IngestConfig:
        if self.labels == "sidecar" and self.sidecar is None:
            raise ValueError("`labels` 'sidecar' needs the file: set `sidecar`")
        return self

    @model_validator(mode="after")
    def _check_runner(self) -> IngestConfig:
        if self.runner == "threads" and self.runner_address is not None:
            raise ValueError("`runner_address` is that of a cluster: set `runner` to dask or ray")
        return self

    @model_validator(mode="after")
    def _check_strip(self) -> IngestConfig:
        if self.stored_format == "jpg" and self.frames * self.height > JPEG_HEIGHT:
            raise ValueError(
                f"`format` 'jpg' keeps the frames of a clip below one another, at most {JPEG_HEIGHT} pixels in all, "
                f"and {self.frames} frames x {self.height} are more: set `format` to mp4 or npy"
            )
        return self


# Fields of IngestConfig that leave a video's clips as they are: changing them makes no other dataset version.
NOT_OF_CONTENT = {
    *("sidecar", "missing", "max_missing", "max_rejected", "follow_outside"),
    *("videos_per_batch", "video_timeout", "workers", "runner", "runner_address"),
}
