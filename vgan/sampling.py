"""From a trained generator's folder to clips.

A folder holds generator.json and weights.safetensors: the one of a finished run, or the one
in a registered model. Shapes: N clips, T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from .errors import ConfigError, CorruptDataError
from .models.families import build_generator
from .models.generate import between, generate_clip, latent
from .models.interface import Generator
from .records import GeneratorRecord
from .storage import read_bytes, sha256_file

Uint8 = npt.NDArray[np.uint8]
RECORD_FILE = "generator.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator and the record it was built from."""

    network: Generator
    record: GeneratorRecord


def load_generator(folder: str | os.PathLike[str]) -> LoadedGenerator:
    """Build the generator of a folder with its weights, on the CPU, ready to sample.

    Nothing is unpickled, and the weights are refused unless they have the recorded sha256.

    Raises:
        CorruptDataError: record or weights are damaged or do not belong together.
        StorageError: they cannot be read.
    """
    root = Path(folder)
    record = GeneratorRecord.from_json(read_bytes(root / RECORD_FILE), str(root / RECORD_FILE))
    weights = root / WEIGHTS_FILE
    if sha256_file(weights) != record.weights_sha256:
        raise CorruptDataError(
            f"{weights} is not the file that {RECORD_FILE} names.", hint="Train again, or restore both from a backup."
        )
    network = build_generator(record)
    try:
        network.load_state_dict(load(read_bytes(weights)))
    except (SafetensorError, RuntimeError) as error:
        raise CorruptDataError(f"{weights} does not hold the weights of this network.") from error
    return LoadedGenerator(network.eval().requires_grad_(False), record)


def pick_device(name: str) -> torch.device:
    """The device called "cpu", "cuda" or "mps"; "auto" takes a GPU when there is one.

    Raises:
        ConfigError: it is not on this machine.
    """
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available, "cpu": lambda: True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there()))
    kind = torch.device(name).type
    if not there[kind]():
        raise ConfigError(f"there is no device {name!r} on this machine.", hint="Write cpu, or auto.")
    return torch.device(name)


@dataclass(frozen=True)
class Wish:
    """One clip that is asked for."""

    seed: int
    label: int | None  # class index; None without classes
    share: float = 0.0  # of the way from `seed` to `to_seed`
    to_seed: int | None = None


class Sampler:
    """Makes clips from one generator, one at a time.

    More at a time would change the pixels, and is quicker on a CPU for the smallest clips only (16 frames of 64 px:
    17 ms a clip in batches of 8, 12 ms one by one).

    Args:
        source: a generator folder, or what `load_generator` returned.
        device: "cpu", "cuda", "mps", or "auto" for a GPU when there is one.
    """

    def __init__(self, source: str | os.PathLike[str] | LoadedGenerator, device: str = "cpu") -> None:
        loaded = source if isinstance(source, LoadedGenerator) else load_generator(source)
        self.record = loaded.record
        self.network = loaded.network.to(pick_device(device))

    def sample(
        self,
        num: int,
        seed: int,
        label: str | int | None = None,
        frames: int | None = None,
        *,
        truncation: float = 1.0,
        to_seed: int | None = None,
    ) -> Uint8:
        """Make `num` clips: uint8 [N, T, H, W, 3].

        Clip i depends on `seed` + i and its class alone, whatever `num` is. With `to_seed` the clips walk instead,
        in `num` steps, from the one of `seed` to the one of `to_seed`.

        Args:
            num: clips.
            seed: of the first one.
            label: class name or index; None lets the classes take turns, and a walk keep to the first.
            frames: length of each clip; None for the trained one.
            truncation: scales the latent towards its mean, 0: less variety, fewer bad clips (Brock et al. 2019,
                arXiv 1809.11096, truncates; Karras et al. 2019, arXiv 1812.04948, scales); 1 is off.
            to_seed: where a walk ends.

        Raises:
            ConfigError: unknown label, negative seed, no clips or frames asked for, a truncation that is not
                above 0 and at most 1, a walk of one step.
        """
        wishes = self.wishes(num, seed, label, to_seed)
        return np.stack([self.make(wish, frames, truncation) for wish in wishes])

    def stream(self, num: int, seed: int, label: str | int | None = None, frames: int | None = None) -> Iterator[Uint8]:
        """The clips of `sample` one by one, uint8 [T, H, W, 3], for more than fit in memory."""
        return (self.make(wish, frames) for wish in self.wishes(num, seed, label))

    def wishes(self, num: int, seed: int, label: str | int | None = None, to_seed: int | None = None) -> Iterator[Wish]:
        """What `sample` makes, clip by clip; everything is checked before the first; raises ConfigError."""
        if num < 1 or seed < 0 or (to_seed or 0) < 0:
            raise ConfigError(f"cannot make {num} clips with seed {seed}: too few, or negative.")
        index = self._label_index(label)
        if to_seed is None:
            labels = len(self.record.labels)
            return (Wish(seed + i, i % labels if labels and label is None else index) for i in range(num))
        if num < 2 or to_seed == seed:
            raise ConfigError(
                f"cannot walk from seed {seed} to {to_seed} in {num} clips: at least 2, between two seeds."
            )
        walked = 0 if self.record.labels and label is None else index
        return (Wish(seed, walked, i / (num - 1), to_seed) for i in range(num))

    def make(self, wish: Wish, frames: int | None = None, truncation: float = 1.0) -> Uint8:
        """One clip, uint8 [T, H, W, 3]; raises ConfigError as `sample`."""
        if (frames is not None and frames < 1) or not 0 < truncation <= 1:
            raise ConfigError(f"cannot make clips of {frames} frames with a truncation of {truncation}.")
        z_BZ = latent(self.network, wish.seed)
        if wish.to_seed is not None:
            z_BZ = between(z_BZ, latent(self.network, wish.to_seed), wish.share)
        if truncation != 1:
            z_BZ = z_BZ * truncation
        return generate_clip(self.network, wish.seed, wish.label, frames, z_BZ=z_BZ)

    def label_name(self, index: int | None) -> str | None:
        """Name of a class."""
        return None if index is None else self.record.labels[index]

    def _label_index(self, label: str | int | None) -> int | None:
        """Index of one class for all clips; None without a label."""
        labels = self.record.labels
        if label is None:
            return None
        if label in labels:
            return labels.index(str(label))
        if isinstance(label, int) and 0 <= label < len(labels):
            return label
        known = f"Known labels: {', '.join(labels)}." if labels else "This model was trained without labels."
        raise ConfigError(f"unknown label {label!r}.", hint=known)
