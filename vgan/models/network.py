"""What a network is built from, as plain JSON: the shape of a clip and the widths of the `r3` family.

Nothing here needs torch, so that a plan can be made and read before any network is built.
"""

from __future__ import annotations

from pydantic import Field

from ..config import Spec
from ..errors import ConfigError


class ClipShape(Spec):
    """Size of a clip and number of classes."""

    frames: int = Field(ge=2, description="Frames of a clip.")
    height: int = Field(ge=16, multiple_of=8, description="Height in pixels.")
    width: int = Field(ge=16, multiple_of=8, description="Width in pixels.")
    labels: int = Field(default=0, ge=0, description="Number of classes; 0 for none.")


class R3Generator(Spec):
    """Sizes of an `r3` generator."""

    content: int = Field(default=48, ge=1, description="Latent numbers that stay the same over the clip.")
    motion: int = Field(default=16, ge=1, description="Latent numbers that drive the motion.")
    hidden: int = Field(default=128, ge=8, description="Width of the two latent networks.")
    path: int = Field(default=16, ge=1, description="Numbers that describe the motion at one moment.")
    degree: int = Field(
        default=5, ge=2, description="Legendre polynomials (from degree 0) behind each of these numbers."
    )
    points: int = Field(default=8, ge=1, description="Moving points at which content is drawn.")
    point_size: float = Field(default=0.25, gt=0, description="Their first size, in half pictures.")
    point_stages: int = Field(default=2, ge=1, description="Enlargements, from the coarsest, after which they draw.")
    widths: tuple[int, ...] = Field(description="Channels of each resolution, from the coarsest; each next doubles it.")
    head: int = Field(description="Last enlargement, by pixel shuffle, after the last of the widths.")
    head_width: int = Field(default=8, ge=3, description="Channels at full resolution.")

    def base(self, shape: ClipShape) -> tuple[int, int]:
        """Height and width of the coarsest feature map; raises ConfigError when the clip does not divide."""
        factor = 2 ** (len(self.widths) - 1) * self.head
        if shape.height % factor or shape.width % factor:
            raise ConfigError(f"a clip of {shape.height} x {shape.width} does not divide by {factor}.")
        return shape.height // factor, shape.width // factor


class R3Discriminator(Spec):
    """Sizes of an `r3` discriminator."""

    fold: int = Field(ge=1, description="Pixels of each side that are folded into channels before the first layer.")
    widths: tuple[int, ...] = Field(description="Channels of each resolution, from the finest; each next halves it.")
    features: int = Field(default=128, ge=8, description="Numbers that the last layer compares with the class.")


class R3Network(Spec):
    """Both networks of the `r3` family."""

    generator: R3Generator
    discriminator: R3Discriminator


_GENERATOR_WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny": (96, 64, 48),
    "small": (192, 128, 96, 64),
    "base": (256, 256, 192, 128, 64),
}
_DISCRIMINATOR_WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny": (64, 96, 128),
    "small": (64, 96, 128, 192),
    "base": (64, 128, 192, 256),
}


def r3_network(preset: str, shape: ClipShape) -> R3Network:
    """The `r3` networks of a preset for clips of this shape.

    The coarsest feature map has about 4 x 4 places; what the preset has too few stages for
    is left to the pixel shuffle at the end.
    """
    widths = _GENERATOR_WIDTHS[preset]
    doublings = max(1, min(_doublings(shape.height), _doublings(shape.width)))
    stages = min(len(widths) - 1, doublings)
    head = 2 ** (doublings - stages)
    fold = _fold(preset, shape)
    return R3Network(
        generator=R3Generator(widths=widths[: stages + 1], head=head),
        discriminator=R3Discriminator(fold=fold, widths=_DISCRIMINATOR_WIDTHS[preset]),
    )


def _doublings(size: int) -> int:
    """How often `size` halves before it is odd or at most 4."""
    count = 0
    while size > 4 and size % 2 == 0:
        size, count = size // 2, count + 1
    return count


def _fold(preset: str, shape: ClipShape) -> int:
    """Pixels folded into channels so that the finest feature map has about 16 (tiny) or 32 places a side."""
    places = 16 if preset == "tiny" else 32
    fold = 1
    while fold < 8 and min(shape.height, shape.width) >= 2 * fold * places:
        fold *= 2
    return fold
