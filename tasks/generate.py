"""The generation stage: clips from a registered model or a local run."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.generation import generate as write_clips
from tasks.retries import STAGE_POLICY
from vgan.config import SampleConfig
from vgan.workspace import Workspace


@task(name="generate", **STAGE_POLICY)
def generate(root: str, model: str, out: str, config: SampleConfig) -> list[str]:
    """Write the clips as mp4 files that say they are synthetic; returns their paths."""
    workspace = Workspace.open(root, write=False, fetch=False, missing="accept")
    return [str(path) for path in write_clips(workspace, model, Path(out), config)]
