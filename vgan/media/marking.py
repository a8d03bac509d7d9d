"""All the ways in which a generated file says that it is synthetic, in one place.

Three of them, each for what another one loses: tags that any tool reads, a signed C2PA manifest that cannot be
altered unseen, and a watermark in the pixels that stays when the file is encoded again.

This module travels in the packaged model. Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .provenance import synthetic_metadata
from .signing import MIME, Signer
from .watermark import embed
from .xmp import with_xmp

Uint8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Marking:
    """How the files of one model are marked."""

    model: str  # name of the registered model, or of its data set
    version: str  # of the registered model; "" for one that is not registered
    run: str  # key of the run that trained it
    watermark: bool = True  # mark the pixels too
    signer: Signer | None = None  # who signs the C2PA manifest; None leaves it out; see `signing.find_signer`

    def watermarked(self, frames_THWC: Uint8, seed: int) -> Uint8:
        """The frames with the imperceptible mark: uint8 [T, H, W, 3]; equal frames give equal ones.

        Args:
            frames_THWC: uint8 [T, H, W, 3]; not altered.
            seed: of the clip; the mark says "made by vgan" and no more, so it is the same for all.
        """
        return embed(frames_THWC) if self.watermark else frames_THWC

    def tags(self, seed: int) -> dict[str, str]:
        """Container metadata for the encoder: IPTC's source type, model, version, run and seed."""
        return synthetic_metadata(self.model, self.run, seed, self.version)

    def signed(self, content: bytes, suffix: str, seed: int) -> bytes:
        """A finished file with XMP and a C2PA manifest in it.

        Args:
            content: the whole file.
            suffix: its kind: ".mp4", ".mov", ".gif" and ".png" carry both; any other comes back as it was.
            seed: of the clip.

        Raises:
            ConfigError: the file could not be signed.
        """
        if suffix not in MIME:
            return content
        content = with_xmp(content, suffix, self.tags(seed))
        if self.signer is None:
            return content
        said = {"model": self.model, "version": self.version, "run": self.run, "seed": str(seed)}
        return self.signer.sign(content, suffix, {key: value for key, value in said.items() if value})
