"""Generators that were never trained: their records, and folders as training exports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from vgan.models.families import build_generator
from vgan.models.interface import Generator
from vgan.models.network import R3_VERSION, ClipShape, R3Generator, r3_network
from vgan.records import GeneratorRecord
from vgan.storage import sha256_file, write_atomic

SHAPE = ClipShape(frames=4, height=16, width=16, labels=2)
NAMES = ("left", "up", "right", "down")


def generator_record(
    shape: ClipShape = SHAPE,
    *,
    network: R3Generator | None = None,
    labels: tuple[str, ...] | None = None,
    run: str = "toys-1",
    dataset: str = "toys",
    dataset_digest: str = "d",
    fps: float = 8.0,
) -> GeneratorRecord:
    """A record without the hash of any weights; the `tiny` network unless another is given."""
    described = (network or r3_network("tiny", shape).generator).model_dump(mode="json")
    names = NAMES[: shape.labels] if labels is None else labels
    return GeneratorRecord(
        family="r3", family_version=R3_VERSION,
        network=described, labels=names, frames=shape.frames, height=shape.height, width=shape.width,
        fps=fps, weights_sha256="", run=run, dataset=dataset, dataset_digest=dataset_digest, vgan_version="0",
    )  # fmt: skip


def write_generator(
    folder: Path, record: GeneratorRecord, seed: int = 0, change: Callable[[Generator], None] = lambda network: None
) -> GeneratorRecord:
    """Write weights.safetensors, drawn from `seed` and altered by `change`, and generator.json; returns its record."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = build_generator(record)
        change(network)
    weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
    write_atomic(folder / "weights.safetensors", weights)
    record = record.model_copy(update={"weights_sha256": sha256_file(folder / "weights.safetensors")})
    write_atomic(folder / "generator.json", record.to_json())
    return record
