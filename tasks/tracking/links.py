"""Where a person finds a run and a model in MLflow's own pages."""

from __future__ import annotations

from urllib.parse import quote

from tasks.tracking.server import best_effort, client, shown_uri
from vgan.records import ModelVersion
from vgan.workspace import Workspace


def run_links(workspace: Workspace, model: ModelVersion) -> dict[str, str]:
    """Page by what it shows; {} where no server of MLflow is named, or it does not answer. Never with a password."""
    base = shown_uri(workspace).rstrip("/")
    if not base.startswith(("http://", "https://")):
        return {}
    links = {
        f"Model {model.model_name} version {model.version} in MLflow": (
            f"{base}/#/models/{quote(model.model_name, safe='')}/versions/{model.version}"
        )
    }
    run = model.mlflow_run_id
    found = best_effort("asking MLflow for the run", lambda: client(workspace).get_run(run)) if run else None
    if found is not None:
        page = f"{base}/#/experiments/{found.info.experiment_id}/runs/{run}"
        links |= {"Run in MLflow": page, "Report in MLflow": f"{page}/artifacts/report.html"}
    return links
