"""The registration stage."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks import registration
from tasks.retries import STAGE_POLICY
from vgan.config import RegisterConfig
from vgan.records import ModelVersion
from vgan.workspace import Workspace


@task(name="register", **STAGE_POLICY)
def register(root: str, run: str, config: RegisterConfig) -> ModelVersion:
    """Register the run's generator behind the gate; a repeated call finds the version."""
    workspace = Workspace.open(root, missing="refuse", sought=f"run {run!r}")
    version = registration.register(workspace, run, config)
    create_markdown_artifact(_summary(version), key="verdict")
    return version


def _summary(version: ModelVersion) -> str:
    held = f"carries **@{version.alias}**" if version.champion else f"does not carry @{version.alias}"
    return f"`{version.model_uri}` {held}.\n\n{version.verdict}\n\nMLflow run `{version.mlflow_run_id}`"
