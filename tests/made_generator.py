"""A generator folder as training exports it, with weights that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from vgan.models.interface import Generator, build_generator
from vgan.models.network import R3Generator
from vgan.records import GeneratorRecord
from vgan.storage import sha256_file, write_atomic


def write_generator(
    folder: Path,
    *,
    run: str = "toys-1",
    dataset: str = "toys",
    dataset_digest: str = "d",
    labels: tuple[str, ...] = ("left", "up"),
    frames: int = 4,
    height: int = 16,
    width: int = 16,
    fps: float = 8.0,
    seed: int = 0,
    change: Callable[[Generator], None] = lambda network: None,
) -> GeneratorRecord:
    """Write weights.safetensors, altered by `change`, and generator.json; returns the record."""
    record = GeneratorRecord(
        family="r3", network=R3Generator(widths=(16, 16), head=2).model_dump(mode="json"), labels=labels,
        frames=frames, height=height, width=width, fps=fps, weights_sha256="", run=run, dataset=dataset,
        dataset_digest=dataset_digest, vgan_version="0",
    )  # fmt: skip
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = build_generator(record)
        change(network)
    write_atomic(folder / "weights.safetensors", save({k: v.contiguous() for k, v in network.state_dict().items()}))
    record = record.model_copy(update={"weights_sha256": sha256_file(folder / "weights.safetensors")})
    write_atomic(folder / "generator.json", record.to_json())
    return record
