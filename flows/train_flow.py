"""Flow `train`: a dataset version becomes a trained run."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DatasetName, TrainSettings, WorkspaceFolder
from tasks.failures import explained
from tasks.train import train as train_task
from vgan.config import TrainConfig
from vgan.records import TrainedRun
from vgan.workspace import Workspace


@flow(name="train", flow_run_name="train {name}", result_serializer="json")
@explained
def train(name: DatasetName, config: TrainSettings = TrainConfig(), workspace: WorkspaceFolder = None) -> TrainedRun:
    """Train a generator on the current version of a dataset, or resume, or find it trained.

    Args:
        name: Dataset to train on.
        config: Size, budget, device and seed of the training, and what it starts from.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    opened = Workspace.open(workspace, missing="refuse", sought=f"dataset {name!r}")
    trained, _ = train_task(str(opened.root), name, config)
    return trained
