"""What a network is built from, as plain JSON: the shape of a clip and the widths of the `r3` family.

Nothing here needs torch, so that a plan can be made and read before any network is built.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..config import Spec
from ..errors import ConfigError

Drawing = Literal["sprites", "frames"]  # pictures drawn once a clip and moved, or every frame drawn whole

R3_VERSION = 5  # of the code of the family; raised when equal weights would make other clips


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
    sprites: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Pictures drawn once a clip and moved along the path; 0 draws every frame whole.",
    )
    sprite_size: float = Field(default=0.3, gt=0, description="Half their extent at first, in half pictures.")
    still: tuple[int, ...] = Field(
        description="Channels of each resolution of what is drawn once a clip, from the coarsest; each next doubles it."
    )
    widths: tuple[int, ...] = Field(
        description="Channels of each resolution of what is drawn for each frame, from the coarsest."
    )

    def base(self, shape: ClipShape) -> tuple[int, int]:
        """Height and width of the coarsest feature map; raises ConfigError when the clip does not divide."""
        factor = 2 ** self.doublings(shape)
        if 2 ** (max(len(self.widths), len(self.still)) - 1) > factor:
            raise ConfigError(f"a clip of {shape.height} x {shape.width} does not divide as often as its widths ask.")
        return shape.height // factor, shape.width // factor

    @staticmethod
    def doublings(shape: ClipShape) -> int:
        """How often the coarsest map is doubled to give the picture."""
        return _doublings(shape)


class R3Discriminator(Spec):
    """Sizes of an `r3` discriminator."""

    fold: int = Field(ge=1, description="Pixels of each side that are folded into channels before the first layer.")
    widths: tuple[int, ...] = Field(description="Channels of each resolution, from the finest; each next halves it.")
    features: int = Field(default=128, ge=8, description="Numbers that the last layer compares with the class.")
    looks: int = Field(default=2, ge=0, description="Frames of a clip, others at every step, looked at one by one.")
    look_width: int = Field(ge=8, description="Channels of what looks at one frame.")
    look_features: int = Field(default=64, ge=8, description="Numbers that a frame is judged by.")


class R3Network(Spec):
    """Both networks of the `r3` family."""

    generator: R3Generator
    discriminator: R3Discriminator


_STILL_WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny": (64, 32, 24, 16),
    "small": (128, 96, 64, 48),
    "base": (256, 192, 128, 96, 64),
}
_FRAME_WIDTHS: dict[Drawing, dict[str, tuple[int, ...]]] = {
    "sprites": {"tiny": (32, 24, 16), "small": (192, 128, 96, 64), "base": (256, 256, 192, 128, 64)},
    "frames": {"tiny": (48, 32, 24, 16), "small": (192, 128, 96, 64), "base": (256, 256, 192, 128, 64)},
}
_DISCRIMINATOR_WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny": (64, 96, 128),
    "small": (64, 96, 128, 192),
    "base": (64, 128, 192, 256),
}
_LOOK_WIDTH = {"tiny": 32, "small": 64, "base": 64}


def r3_network(preset: str, shape: ClipShape, drawing: Drawing = "sprites") -> R3Network:
    """The `r3` networks of a preset for clips of this shape.

    The coarsest feature map has about 4 x 4 places. What is drawn once a clip ends, under sprites, at a quarter of the
    picture's resolution, where a sprite's canvas has about as many places as it covers pixels; what the preset has too
    few widths for is left to the pixel shuffle at the end.
    """
    doublings = _doublings(shape)
    still, frame = _STILL_WIDTHS[preset], _FRAME_WIDTHS[drawing][preset]
    coarser = 2 if drawing == "sprites" else 0
    return R3Network(
        generator=R3Generator(
            sprites=1 if drawing == "sprites" else 0,
            still=still[: max(1, doublings - coarser) + 1],
            widths=frame[: doublings + 1],
        ),
        discriminator=R3Discriminator(
            fold=_fold(preset, shape),
            widths=_DISCRIMINATOR_WIDTHS[preset],
            look_width=_LOOK_WIDTH[preset],
        ),
    )


def _doublings(shape: ClipShape) -> int:
    """How often both sides halve before one is odd or at most 4; at least once."""
    height, width, count = shape.height, shape.width, 0
    while height > 4 and width > 4 and height % 2 == width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return max(1, count)


def _fold(preset: str, shape: ClipShape) -> int:
    """Pixels folded into channels so that the finest feature map has about 16 (tiny) or 32 places a side."""
    places = 16 if preset == "tiny" else 32
    fold = 1
    while fold < 8 and min(shape.height, shape.width) >= 2 * fold * places:
        fold *= 2
    return fold
