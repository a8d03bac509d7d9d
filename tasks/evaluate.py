"""The evaluation stage."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_table_artifact

from tasks.progress import stage_progress
from tasks.retries import STAGE_POLICY
from vgan.config import EvaluateConfig
from vgan.evaluation.evaluate import evaluate as evaluate_run
from vgan.records import Evaluation
from vgan.workspace import Workspace


@task(name="evaluate", **STAGE_POLICY)
def evaluate(root: str, run: str, config: EvaluateConfig) -> tuple[Evaluation, bool]:
    """Compare generated clips with the held-out ones; a repeated call finds the figures.

    Returns:
        (the evaluation, whether it was there before).
    """
    with stage_progress("evaluate") as progress:
        evaluation, unchanged = evaluate_run(Workspace.open(root), run, config, progress=progress)
    create_table_artifact(metric_rows(evaluation), key="metrics", description=f"Metrics of run {run}")
    return evaluation, unchanged


def metric_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """One row a metric, as people read it."""
    rows = [
        {
            "metric": m.name,
            "value": f"{m.value:.4g}",
            "95 % interval": f"{m.low:.4g} to {m.high:.4g}",
            "real against real": f"{m.floor:.4g}",
            "better": m.better,
        }
        for m in evaluation.metrics
    ]
    return rows + [
        {
            "metric": f"probe: {name}",
            "value": f"{value:.4g}",
            "95 % interval": "",
            "real against real": "",
            "better": "",
        }
        for name, value in evaluation.probes.items()
    ]
