"""The evaluation stage."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_table_artifact

from tasks.progress import stage_progress
from tasks.retries import STAGE_POLICY
from vgan.config import EvaluateConfig
from vgan.evaluation.evaluate import evaluate as evaluate_run
from vgan.evaluation.report import summary
from vgan.evaluation.table import COLUMNS, metric_rows
from vgan.records import Evaluation
from vgan.workspace import Workspace


@task(name="evaluate", **STAGE_POLICY)
def evaluate(root: str, run: str, config: EvaluateConfig) -> tuple[Evaluation, bool]:
    """Compare generated clips with the held-out ones; a repeated call finds the figures.

    Prefect gets them with a summary, and a link to the report, which opens where the workspace is.

    Returns:
        (the evaluation, whether it was there before).
    """
    workspace = Workspace.open(root, missing="refuse", sought=f"run {run!r}")
    with stage_progress("evaluate") as progress:
        evaluation, unchanged = evaluate_run(workspace, run, config, progress=progress)
    rows: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in metric_rows(evaluation)]
    create_table_artifact(rows, key="metrics", description=f"Figures of run {run}. {summary(evaluation)}")
    report = workspace.run(run).report
    create_link_artifact(
        report.as_uri(), link_text=f"Report of run {run}", key="report", description=f"In the workspace: {report}"
    )
    return evaluation, unchanged
