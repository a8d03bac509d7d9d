"""From a trained generator's folder to clips, files and a contact sheet, all marked as synthetic.

A folder holds generator.json and weights.safetensors: the one of a finished run, or the one
in a registered model. Shapes: N clips, T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

import json
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
from .media.encode import contact_sheet, write_mp4, write_png
from .media.provenance import synthetic_metadata
from .models.families import build_generator
from .models.generate import generate_clip
from .models.interface import Generator
from .records import GeneratorRecord
from .storage import read_bytes, sha256_file, write_atomic

Uint8 = npt.NDArray[np.uint8]
RECORD_FILE = "generator.json"
WEIGHTS_FILE = "weights.safetensors"
SHEET_CLIPS = 16


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


class Sampler:
    """Makes clips from one generator.

    Args:
        source: a generator folder, or what `load_generator` returned.
        device: "cpu", "cuda" or "mps".
    """

    def __init__(self, source: str | os.PathLike[str] | LoadedGenerator, device: str = "cpu") -> None:
        loaded = source if isinstance(source, LoadedGenerator) else load_generator(source)
        self.record = loaded.record
        self.network = loaded.network.to(torch.device(device))

    def sample(self, num: int, seed: int, label: str | int | None = None, frames: int | None = None) -> Uint8:
        """Make `num` clips: uint8 [N, T, H, W, 3].

        Clip i depends on `seed` + i and its class alone, whatever `num` is.

        Raises:
            ConfigError: unknown label, negative seed, or no clips or frames asked for.
        """
        return np.stack(list(self.stream(num, seed, label, frames)))

    def stream(self, num: int, seed: int, label: str | int | None = None, frames: int | None = None) -> Iterator[Uint8]:
        """The clips of `sample` one by one, uint8 [T, H, W, 3], for more than fit in memory."""
        if num < 1 or seed < 0 or (frames is not None and frames < 1):
            raise ConfigError(f"cannot make {num} clips of {frames} frames with seed {seed}: too few, or negative.")
        indices = self.label_indices(num, label)
        return (generate_clip(self.network, seed + i, indices[i], frames) for i in range(num))

    def label_indices(self, num: int, label: str | int | None) -> list[int | None]:
        """Class index of each of `num` clips; without a label the classes take turns."""
        labels = self.record.labels
        if label is None:
            return [i % len(labels) if labels else None for i in range(num)]
        if label in labels:
            return [labels.index(str(label))] * num
        if isinstance(label, int) and 0 <= label < len(labels):
            return [label] * num
        known = f"Known labels: {', '.join(labels)}." if labels else "This model was trained without labels."
        raise ConfigError(f"unknown label {label!r}.", hint=known)


def write_samples(
    sampler: Sampler,
    folder: str | os.PathLike[str],
    num: int,
    seed: int,
    label: str | int | None = None,
    fps: float | None = None,
    model_name: str | None = None,
    frames: int | None = None,
) -> list[Path]:
    """Write `num` clips as mp4 files, a contact sheet of the first ones, and samples.json, written last.

    Every mp4 says in its metadata that it is synthetic and which model and seed made it.

    Args:
        sampler: makes the clips.
        folder: created if needed; files of the same name are replaced.
        num: clips; clip i has seed `seed` + i.
        seed: of the first clip.
        label: class name or index; None lets the classes take turns.
        fps: frames per second of the files; None takes the data's.
        model_name: the model named in the metadata; None takes the dataset's name.
        frames: length of each clip; None takes the trained one.

    Returns:
        All files written, samples.json last.

    Raises:
        ConfigError: as `Sampler.sample`, before anything is written.
        StorageError: a file cannot be written.
    """
    record, root = sampler.record, Path(folder)
    rate = fps or record.fps
    model = model_name or record.dataset
    clips, indices = sampler.stream(num, seed, label, frames), sampler.label_indices(num, label)
    rows: list[dict[str, object]] = []
    shown: list[Uint8] = []
    for i, clip_THWC in enumerate(clips):
        index = indices[i]
        name = None if index is None else record.labels[index]
        file = "-".join([f"clip-{i:05d}", *([name] if name else []), f"seed{seed + i}"]) + ".mp4"
        write_mp4(root / file, clip_THWC, rate, synthetic_metadata(model, record.run, seed + i))
        rows.append({"file": file, "seed": seed + i, "label": name})
        if i < SHEET_CLIPS:
            shown.append(clip_THWC)
    write_png(root / "contact-sheet.png", contact_sheet(shown))
    listing = {
        "synthetic": True,
        "model": model,
        "run": record.run,
        "weights_sha256": record.weights_sha256,
        "fps": rate,
        "frames": frames or record.frames,
        "clips": rows,
    }
    write_atomic(root / "samples.json", json.dumps(listing, indent=1).encode() + b"\n")
    return [root / str(row["file"]) for row in rows] + [root / "contact-sheet.png", root / "samples.json"]
