"""What every family offers.

Shapes: B clips, Z latent, L classes, T frames, F frames looked at, C = 3 channels, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .network import ClipShape


class Generator(nn.Module, ABC):
    """Makes clips from latents.

    Args:
        latent: Z, the length of a latent.
        shape: the clips that it was trained on.
    """

    def __init__(self, latent: int, shape: ClipShape) -> None:
        super().__init__()
        self.latent = latent
        self.shape = shape

    @abstractmethod
    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        """Make clips.

        Args:
            z_BZ: standard normal latents.
            label_B: class indices, None for a family without classes.
            times_T: moments to show, in frames; None for 0, 1, ... `shape.frames` - 1.

        Returns:
            video [B, 3, T, H, W] in [-1, 1], float32.
        """

    def one_hot(self, label_B: Tensor | None, like: Tensor) -> Tensor:
        """[B, L] of zeros and ones, on the device of `like`; [B, 0] without classes."""
        if not self.shape.labels:
            return like.new_zeros(like.shape[0], 0)
        if label_B is None:
            raise ConfigError(f"this generator has {self.shape.labels} classes and needs a label for each clip.")
        return functional.one_hot(label_B, self.shape.labels).to(like)


class Discriminator(nn.Module, ABC):
    """Scores clips: the higher, the more real.

    Args:
        shape: of the clips.
        looks: F, frames of each clip that it looks at one by one.
    """

    def __init__(self, shape: ClipShape, looks: int) -> None:
        super().__init__()
        self.shape = shape
        self.looks = min(looks, shape.frames)

    @abstractmethod
    def forward(self, video_BCTHW: Tensor, label_B: Tensor | None = None, moments_BF: Tensor | None = None) -> Tensor:
        """Video [B, 3, T, H, W] in [-1, 1], class [B] and frames to look at [B, F] -> logits [B], float32.

        Without `moments_BF` they are spread evenly over the clip.
        """
