"""One training a GPU: a slot of a concurrency limit of the Prefect server."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from prefect.concurrency.sync import concurrency

from vgan.config import TrainConfig

GPU_SLOT = "gpu"
LEASE_SECONDS = 60  # a killed holder's slot comes free after this


def gpu_slot(config: TrainConfig) -> AbstractContextManager[object]:
    """Hold the `gpu` concurrency limit, where it exists, while a GPU is used."""
    if config.device == "cuda" or (config.device == "auto" and Path("/dev/nvidia0").exists()):
        return concurrency(GPU_SLOT, occupy=1, lease_duration=LEASE_SECONDS)
    return nullcontext()
