"""Everything that vgan says to MLflow: runs, metrics, artifacts, the registry; nothing else of tasks imports it.

The local run folder is the truth; `sync_run` brings MLflow up to date with it and can be called
again at any time, so a server that was away gets what it missed. No Prefect in here.
"""

from __future__ import annotations

from mlflow.entities.model_registry import ModelVersion as MlflowVersion

from tasks.tracking.runs import (
    experiment,
    find_run,
    finish_run,
    settings,
    sync_run,
)
from tasks.tracking.server import (
    best_effort,
    client,
    impatient,
    registry_errors,
    shown_uri,
    tracking_uri,
)
from tasks.tracking.tags import (
    DATASET_TAG,
    EVALUATION_TAG,
    FIGURES_TAG,
    FORCED_TAG,
    GATE_TAG,
    JUDGED_TAG,
    MOVED_TAG,
    OUTCOME_TAG,
    PACKAGE_TAG,
    RUN_TAG,
    UPLOADED_TAG,
    VERDICT_TAG,
    WEIGHTS_TAG,
    figures_of,
    figures_tag,
    verdict_tags,
)
from tasks.tracking.uploads import upload_model
from tasks.tracking.versions import (
    champion_version,
    create_version,
    describe_version,
    downloaded,
    find_version,
    move_alias,
    refuse_reserved,
    resolve,
    tag_version,
)

__all__ = [
    "DATASET_TAG",
    "EVALUATION_TAG",
    "FIGURES_TAG",
    "FORCED_TAG",
    "GATE_TAG",
    "JUDGED_TAG",
    "MOVED_TAG",
    "OUTCOME_TAG",
    "PACKAGE_TAG",
    "RUN_TAG",
    "UPLOADED_TAG",
    "VERDICT_TAG",
    "WEIGHTS_TAG",
    "MlflowVersion",
    "best_effort",
    "champion_version",
    "client",
    "create_version",
    "describe_version",
    "downloaded",
    "experiment",
    "figures_of",
    "figures_tag",
    "find_run",
    "find_version",
    "finish_run",
    "impatient",
    "move_alias",
    "refuse_reserved",
    "registry_errors",
    "resolve",
    "settings",
    "shown_uri",
    "sync_run",
    "tag_version",
    "tracking_uri",
    "upload_model",
    "verdict_tags",
]
