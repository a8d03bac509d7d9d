"""What every family offers, and the table of families.

Shapes: B clips, Z latent, L classes, T frames, C = 3 channels, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from ..config import Spec
from ..errors import ConfigError, CorruptDataError
from ..records import GeneratorRecord
from .network import ClipShape, R3Discriminator, R3Generator

NetworkT = TypeVar("NetworkT", bound=nn.Module)


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
    """Scores clips: the higher, the more real."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, video_BCTHW: Tensor, label_B: Tensor | None = None) -> Tensor:
        """Video [B, 3, T, H, W] in [-1, 1] and class [B] -> logits [B], float32."""


@dataclass(frozen=True)
class Family:
    """How the two networks of a family are described and built."""

    generator_config: type[Spec]
    discriminator_config: type[Spec]
    generator: Callable[[Any, ClipShape], Generator]
    discriminator: Callable[[Any, ClipShape], Discriminator]


def family(name: str) -> Family:
    """The family of this name; raises ConfigError naming the known ones."""
    families = _families()
    if name not in families:
        raise ConfigError(f"unknown model family {name!r}.", hint=f"Known: {', '.join(sorted(families))}.")
    return families[name]


def _families() -> dict[str, Family]:
    # Imported here because the families subclass the interface above.
    from .r3 import R3DiscriminatorNetwork, R3GeneratorNetwork

    return {"r3": Family(R3Generator, R3Discriminator, R3GeneratorNetwork, R3DiscriminatorNetwork)}


def build_generator(record: GeneratorRecord) -> Generator:
    """The network that a record describes, with fresh weights; raises CorruptDataError when it describes none."""
    kind = family(record.family)
    try:
        network = kind.generator_config.model_validate(record.network)
        shape = ClipShape(frames=record.frames, height=record.height, width=record.width, labels=len(record.labels))
    except ValidationError as error:
        raise CorruptDataError(f"the record of run {record.run} describes no {record.family} generator.") from error
    return _channels_last(kind.generator(network, shape))


def build_discriminator(name: str, network: dict[str, Any], shape: ClipShape) -> Discriminator:
    """The discriminator of family `name` with fresh weights; raises ConfigError."""
    kind = family(name)
    try:
        config = kind.discriminator_config.model_validate(network)
    except ValidationError as error:
        raise ConfigError(f"not a {name} discriminator: {error.errors()[0]['msg']}.") from error
    return _channels_last(kind.discriminator(config, shape))


def _channels_last(network: NetworkT) -> NetworkT:
    """Lay out the weights as CPUs and GPUs convolve fastest."""
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]: missing in torch's types
    return network
