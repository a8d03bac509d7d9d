"""The generation stage: clips from a registered model or a local run."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task

from tasks.generation import generate as write_clips
from tasks.generation import speed
from tasks.progress import stage_progress
from tasks.retries import STAGE_POLICY
from vgan.config import SampleConfig
from vgan.progress import counted
from vgan.workspace import Workspace


@task(name="generate", **STAGE_POLICY)
def generate(root: str, model: str, out: str, config: SampleConfig) -> list[str]:
    """Write clips, contact sheet and grid, each of which says that it is synthetic; returns the clips' paths."""
    workspace = Workspace.open(root, write=False, fetch=False, missing="accept")
    with stage_progress("generate") as sink:
        written = write_clips(workspace, model, Path(out), config, sink)
    get_run_logger().info("%s in %s: %s", counted(len(written.clips), "clip"), out, speed(written))
    return [str(path) for path in written.clips]
