"""Registered versions: found by their weights, made once, downloaded with their hashes checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from tasks.tracking.server import DATABASE, URI_VARIABLE, client, registry_errors, shown_uri
from tasks.tracking.tags import PACKAGE_TAG, WEIGHTS_TAG
from vgan.errors import ConfigError
from vgan.records import GeneratorRecord
from vgan.registry.package import verify_package
from vgan.workspace import Workspace


def find_version(api: MlflowClient, model_name: str, weights_sha256: str) -> MlflowVersion | None:
    """The registered version with these weights: registering is idempotent by content."""
    versions = api.search_model_versions(f"name='{model_name}'")
    return next((v for v in versions if v.tags.get(WEIGHTS_TAG) == weights_sha256), None)


def create_version(
    workspace: Workspace, model_name: str, run_id: str, source: str, tags: dict[str, str], description: str
) -> MlflowVersion:
    """Register an uploaded model as the next version of `model_name`."""
    api = client(workspace)
    try:
        api.get_registered_model(model_name)
    except MlflowException:
        api.create_registered_model(model_name, description="Video generator trained by vgan.")
    model_id = source.removeprefix("models:/")
    return api.create_model_version(
        model_name, source, run_id=run_id, tags=tags, description=description, model_id=model_id
    )


def champion_version(api: MlflowClient, model_name: str, alias: str) -> MlflowVersion | None:
    """The version that carries the alias, None when nobody does."""
    try:
        return api.get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def resolve(workspace: Workspace, uri: str) -> MlflowVersion:
    """The version that 'models:/NAME@ALIAS' or 'models:/NAME/VERSION' names; raises ConfigError."""
    if not os.environ.get(URI_VARIABLE) and not (workspace.root / DATABASE).exists():
        raise _unknown(workspace, uri, [])  # MLflow would make the database, and asking must write nothing
    api = client(workspace)
    name, at, alias = uri.removeprefix("models:/").partition("@")
    try:
        if at:
            return api.get_model_version_by_alias(name, alias)
        name, _, version = name.partition("/")
        return api.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise _unknown(workspace, uri, [model.name for model in api.search_registered_models()]) from error


def _unknown(workspace: Workspace, uri: str, names: list[str]) -> ConfigError:
    return ConfigError(
        f"no registered model {uri!r} at {shown_uri(workspace)}.",
        hint=f"Registered models: {', '.join(sorted(names)) or 'none'}. Write models:/NAME@champion or "
        "models:/NAME/VERSION.",
    )


@contextmanager
def downloaded(workspace: Workspace, version: MlflowVersion) -> Iterator[tuple[Path, GeneratorRecord]]:
    """The verified package of a registered version in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="vgan-model-") as scratch:
        uri = f"models:/{version.name}/{version.version}"
        client(workspace)
        with registry_errors(f"downloading {uri}", workspace):
            local = download_artifacts(artifact_uri=uri, dst_path=scratch)
        package = Path(local) / "artifacts" / "generator"
        yield package, verify_package(package, version.tags.get(PACKAGE_TAG))
