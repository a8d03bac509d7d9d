"""What to generate, and how it is written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .spec import Spec


class SampleConfig(Spec):
    """What to generate, and how it is written."""

    num: int = Field(
        default=16,
        title="Clips to generate",
        ge=1,
        le=100_000,
        description="Clips to generate; of a walk to another seed, its steps.",
    )
    seed: int = Field(
        default=0,
        title="Seed of the first clip",
        ge=0,
        lt=2**31,
        description="Seed of the first clip; the same seed gives the same clips.",
    )
    to_seed: int | None = Field(
        default=None,
        title="Walk to seed",
        ge=0,
        lt=2**31,
        description="Walk from the clip of the first seed to the clip of this one; empty gives each clip a seed of "
        "its own.",
    )
    label: str | None = Field(
        default=None,
        title="Class",
        description="Class to generate, by name; empty takes the classes in turn, and for a walk the first.",
    )
    fps: float | None = Field(
        default=None,
        title="Frames per second",
        gt=0,
        le=120,
        description="Frames per second of the files; empty takes the data's.",
    )
    frames: int | None = Field(
        default=None,
        title="Frames per clip",
        ge=2,
        le=10_000,
        description="Frames of a clip; empty takes as many as were trained. Longer clips go on moving, to and fro.",
    )
    truncation: float = Field(
        default=1.0,
        title="Truncation",
        gt=0,
        le=1,
        description="Scales the latent towards its mean: less variety and fewer bad clips the smaller it is; 1 is off.",
    )
    format: Literal["mp4", "gif", "webm", "npy"] = Field(
        default="mp4",
        title="Format",
        description="Kind of files: 'npy' has exact pixels, uint8 [frames, height, width, 3], and a .json beside each.",
    )
    codec: Literal["auto", "h264", "h265", "av1", "vp9"] = Field(
        default="auto",
        title="Codec",
        description="How an mp4 or webm is coded, by an encoder that this machine's ffmpeg has; 'auto' takes H.264 "
        "for mp4, VP9 for webm.",
    )
    grid: bool = Field(
        default=False,
        title="All clips side by side",
        description="Write one more film in which all clips play side by side; of npy clips an mp4.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="Where to generate; 'auto' takes a GPU when there is one."
    )
    certificate: str | None = Field(
        default=None,
        title="Certificate",
        description="PEM file of the certificate that signs the files' C2PA manifests; empty takes "
        "VGAN_C2PA_CERTIFICATE, else one that is made on this machine and trusted by nobody.",
    )
    key: str | None = Field(
        default=None,
        title="Private key",
        description="PEM file of the certificate's private key; empty takes VGAN_C2PA_KEY.",
    )

    @model_validator(mode="after")
    def _check_walk(self) -> SampleConfig:
        if self.to_seed is not None and (self.to_seed == self.seed or self.num < 2):
            raise ValueError("`to_seed` needs another seed than `seed`, and `num` at least 2 for both ends of the walk")
        return self

    @model_validator(mode="after")
    def _check_codec(self) -> SampleConfig:
        held = {"mp4": ("h264", "h265", "av1", "vp9"), "webm": ("vp9", "av1")}.get(self.format, ())
        if self.codec not in ("auto", *held):
            raise ValueError(f"`codec` {self.codec} is not for files of `format` {self.format}: leave it at auto")
        return self
