"""Flow `generate`: a registered model makes clips."""

from __future__ import annotations

from prefect import flow

from flows.parameters import Model, OutputFolder, SampleSettings, WorkspaceFolder
from tasks.failures import explained
from tasks.generate import generate as generate_task
from vgan.config import SampleConfig
from vgan.workspace import Workspace


@flow(name="generate", flow_run_name="generate with {model}", result_serializer="json")
@explained
def generate(
    model: Model, out: OutputFolder, config: SampleSettings = SampleConfig(), workspace: WorkspaceFolder = None
) -> list[str]:
    """Write generated clips, marked as synthetic, to a folder.

    Args:
        model: models:/NAME@champion, models:/NAME/VERSION, or the key of a local run.
        out: Folder for the clips; created when it is not there.
        config: How many clips, their seed, class and length, and how they are written.
        workspace: Folder with the local runs and registry; empty takes VGAN_WORKSPACE or ./workspace.
    """
    opened = Workspace.open(workspace, write=False, fetch=False, missing="accept")
    return generate_task(str(opened.root), model, out, config)
