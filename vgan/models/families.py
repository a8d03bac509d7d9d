"""The table of families, and how a record becomes networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from .. import __version__
from ..config import Spec
from ..errors import ConfigError, CorruptDataError
from ..records import GeneratorRecord
from .interface import Discriminator, Generator
from .network import R3_VERSION, ClipShape, R3Discriminator, R3Generator
from .r3 import R3DiscriminatorNetwork, R3GeneratorNetwork

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Family:
    """How the two networks of a family are described and built."""

    version: int  # raised when equal weights would make other clips
    generator_config: type[Spec]
    discriminator_config: type[Spec]
    generator: Callable[[Any, ClipShape], Generator]
    discriminator: Callable[[Any, ClipShape], Discriminator]


FAMILIES: dict[str, Family] = {
    "r3": Family(R3_VERSION, R3Generator, R3Discriminator, R3GeneratorNetwork, R3DiscriminatorNetwork),
}


def family(name: str) -> Family:
    """The family of this name; raises ConfigError naming the known ones."""
    if name not in FAMILIES:
        raise ConfigError(f"unknown model family {name!r}.", hint=f"Known: {', '.join(sorted(FAMILIES))}.")
    return FAMILIES[name]


def build_generator(record: GeneratorRecord) -> Generator:
    """The network that a record describes, with fresh weights.

    Raises:
        ConfigError: an unknown family, or one whose code has changed since: the weights would make other clips.
        CorruptDataError: it describes no network of its family.
    """
    kind = family(record.family)
    if record.family_version != kind.version:
        raise ConfigError(
            f"run {record.run} has weights for version {record.family_version} of the {record.family} networks, "
            f"and this vgan ({__version__}) has version {kind.version}.",
            hint="Train again, use the registered model, which brings its own code, or the vgan that trained it "
            f"({record.vgan_version}).",
        )
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
