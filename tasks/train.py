"""The training stage: supervise the training process, forward its metrics, resume it on retry."""

from __future__ import annotations

import math
import time
from typing import Any

from prefect import task

from tasks import tracking
from tasks.decisions import decided
from tasks.generation import initial_weights
from tasks.progress import stage_progress
from tasks.retries import STAGE_POLICY
from tasks.sheets import showing_samples
from tasks.slots import gpu_slot
from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset
from vgan.data.versions.growth import take
from vgan.errors import VganError
from vgan.media.ffmpeg import find_ffmpeg
from vgan.records import Dataset, TrainedRun
from vgan.training.plan import run_key
from vgan.training.process import train as train_in_child
from vgan.workspace import Workspace

SECONDS_BETWEEN_SYNCS = 15.0
MOST_SECONDS_BETWEEN_SYNCS = 600.0  # while the server is away


@task(name="train", **STAGE_POLICY)
def train(root: str, name: str, config: TrainConfig, version: str | None = None) -> tuple[TrainedRun, bool]:
    """Train, or resume from the newest checkpoint, or find the run finished.

    `version` is the digest of the dataset version; None takes the current one. A retry goes on with the same
    run although an ingest has made another version meanwhile, or the alias that `config.init` names has moved.

    Returns:
        (the finished run, whether it was there before).
    """
    workspace = Workspace.open(root, missing="refuse", sought=f"dataset {name!r}")
    find_ffmpeg()  # evaluation and sampling write films with it: better told now than after hours
    dataset = load_dataset(workspace, name, version or _version(workspace, name))
    take(workspace, name, dataset.digest())  # before the wait for a GPU: no ingest asks for this training meanwhile
    init = _initial(workspace, dataset, config)
    run = run_key(dataset, config, init)
    synced, pause = time.monotonic(), SECONDS_BETWEEN_SYNCS

    def forward(_: dict[str, Any]) -> None:
        nonlocal synced, pause
        if time.monotonic() - synced >= pause:
            done = tracking.best_effort(
                "forwarding metrics to MLflow",
                lambda: tracking.sync_run(workspace, run, dataset, tracking.settings(config, dataset.config)),
            )
            pause = SECONDS_BETWEEN_SYNCS if done else min(2 * pause, MOST_SECONDS_BETWEEN_SYNCS)
            synced = time.monotonic()

    folder = workspace.run(run)
    with gpu_slot(config), stage_progress("train") as progress, showing_samples(folder):
        try:
            return train_in_child(
                workspace,
                name,
                config,
                version=dataset.digest(),
                init=init,
                progress=progress,
                on_metrics=forward,
                wait=math.inf,  # another flow run trains the same: its result is what this one is after
            )
        except VganError as error:
            error.add_note(f"All that the training process said: {folder.log}")
            raise


def _version(workspace: Workspace, name: str) -> str:
    """Digest of the dataset's current version, or of the one that an earlier attempt of this flow run took."""
    return decided(
        workspace,
        f"current version of dataset {name}",
        lambda: load_dataset(workspace, name).digest(),
        holds=lambda digest: workspace.dataset(name).version(digest).exists(),
    )


def _initial(workspace: Workspace, dataset: Dataset, config: TrainConfig) -> str | None:
    """sha256 of the weights to start from, or of those that an earlier attempt of this flow run took."""
    if config.init is None:
        return None
    return decided(
        workspace,
        f"weights of {config.init} for dataset {dataset.name}",
        lambda: initial_weights(workspace, dataset, config) or "",
        holds=lambda sha256: workspace.initial(sha256).exists(),
    )
