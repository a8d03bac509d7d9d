"""What the registry holds, for people who ask: nothing here writes, and no database is made by asking."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from tasks.tracking.server import DATABASE, URI_VARIABLE, client
from tasks.tracking.tags import WEIGHTS_TAG
from vgan.records import Evaluation
from vgan.workspace import Workspace

EVALUATION_FILE = "evaluation.json"


def registered_models(workspace: Workspace) -> dict[str, dict[str, str]]:
    """Version by alias, of each registered model."""
    if not os.environ.get(URI_VARIABLE) and not (workspace.root / DATABASE).exists():
        return {}  # MLflow would make the database
    api, found, token = client(workspace), {}, None
    while True:
        page = api.search_registered_models(page_token=token)
        found |= {model.name: {alias: str(version) for alias, version in model.aliases.items()} for model in page}
        if not (token := page.token):
            return found


def versions_of(workspace: Workspace, model_name: str) -> list[MlflowVersion]:
    """All versions of a registered model, the newest first."""
    api, found, token = client(workspace), [], None
    while True:
        page = api.search_model_versions(f"name='{model_name}'", page_token=token)
        found += page
        if not (token := page.token):
            return sorted(found, key=lambda version: -int(version.version))


def logged_metrics(workspace: Workspace, version: MlflowVersion) -> dict[str, float]:
    """The last value of each metric of the version's run; {} when the run has gone or is of other weights by now."""
    try:
        run = client(workspace).get_run(version.run_id or "")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return {}
        raise
    return run.data.metrics if run.data.tags.get(WEIGHTS_TAG) == version.tags.get(WEIGHTS_TAG) else {}


def logged_evaluation(workspace: Workspace, version: MlflowVersion) -> Evaluation | None:
    """The evaluation that was logged with the version's run; None when there is none of these weights.

    Raises:
        CorruptDataError: what was logged is no evaluation.
    """
    api = client(workspace)
    logged = api.list_artifacts(version.run_id) if version.run_id else []
    if EVALUATION_FILE not in [file.path for file in logged]:
        return None
    with tempfile.TemporaryDirectory(prefix="vgan-evaluation-") as scratch:
        path = Path(download_artifacts(run_id=version.run_id, artifact_path=EVALUATION_FILE, dst_path=scratch))
        found = Evaluation.from_json(
            path.read_bytes(), f"{EVALUATION_FILE} of {version.name} version {version.version}"
        )
    return found if found.weights_sha256 == version.tags.get(WEIGHTS_TAG) else None
