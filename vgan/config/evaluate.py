"""How generated clips are compared with held-out ones."""

from __future__ import annotations

from pydantic import Field, model_validator

from .spec import Spec


class EvaluateConfig(Spec):
    """How generated clips are compared with the held-out ones."""

    clips: int = Field(
        default=512,
        title="Clips to compare",
        ge=16,
        le=8192,
        description="Generated clips, and at most so many held-out ones, to compare.",
    )
    seed: int = Field(
        default=0, title="Seed", ge=0, lt=2**31, description="Seed of the samples and of every random choice of clips."
    )
    bootstrap: int = Field(
        default=100,
        title="Half-samples",
        ge=20,
        le=10_000,
        description="Random half-samples behind each figure, its floor and its 95 % interval.",
    )
    fvd_weights: str | None = Field(
        default=None,
        title="FVD weights",
        description="TorchScript file of the network behind FVD and KVD, as StyleGAN-V uses it; empty leaves both out. "
        "Such a file runs code: it is loaded only if it has the promised hash.",
    )
    fvd_sha256: str | None = Field(
        default=None,
        title="FVD SHA-256",
        pattern=r"^[0-9a-f]{64}$",
        description="sha256 of that file (64 hex digits). By giving it you promise that you know where the file is "
        "from, and that its code may run here.",
    )

    @model_validator(mode="after")
    def _check_fvd(self) -> EvaluateConfig:
        if (self.fvd_weights is None) != (self.fvd_sha256 is None):
            raise ValueError("`fvd_weights` and `fvd_sha256` belong together: give both or neither")
        return self
