"""Flow `evaluate`: a trained run gets its figures."""

from __future__ import annotations

from prefect import flow

from flows.parameters import EvaluateSettings, TrainedRunKey, WorkspaceFolder
from tasks.evaluate import evaluate as evaluate_task
from tasks.failures import explained
from vgan.config import EvaluateConfig
from vgan.records import Evaluation
from vgan.workspace import Workspace


@flow(name="evaluate", flow_run_name="evaluate {run}", result_serializer="json")
@explained
def evaluate(
    run: TrainedRunKey, config: EvaluateSettings = EvaluateConfig(), workspace: WorkspaceFolder = None
) -> Evaluation:
    """Compare a run's clips with the held-out ones of its dataset.

    Args:
        run: Key of a trained run, as `vgan train` prints it.
        config: How many clips, and the seed of the comparison.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    opened = Workspace.open(workspace, missing="refuse", sought=f"run {run!r}")
    evaluation, _ = evaluate_task(str(opened.root), run, config)
    return evaluation
