"""Registered versions: found by their weights, made once, downloaded with their hashes checked."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from tasks.tracking.server import DATABASE, URI_VARIABLE, client, registry_errors, shown_uri
from tasks.tracking.tags import MOVED_TAG, PACKAGE_TAG, WEIGHTS_TAG
from vgan.errors import ConfigError
from vgan.records import GeneratorRecord
from vgan.registry.package import PACKAGE_FOLDER, verify_model
from vgan.workspace import Workspace

CARD_FILE = "MODEL_CARD.md"
DESCRIPTION_CHARACTERS = 5000  # which SQLite lets pass, and PostgreSQL does not
REST_OF_CARD = f"\n\nThe whole card is {CARD_FILE} of this version's run.\n"


def find_version(api: MlflowClient, model_name: str, weights_sha256: str) -> MlflowVersion | None:
    """The registered version with these weights, the first should there be several: registering is idempotent."""
    versions = api.search_model_versions(f"name='{model_name}'")
    return min(
        (v for v in versions if v.tags.get(WEIGHTS_TAG) == weights_sha256), key=lambda v: int(v.version), default=None
    )


def create_version(
    workspace: Workspace, model_name: str, run_id: str, source: str, tags: dict[str, str], description: str
) -> MlflowVersion:
    """Register an uploaded model as the next version of `model_name`, unless its weights are registered by now.

    Another machine may have done so, or an earlier request of ours whose answer was lost on the way. Whoever
    made a version looks afterwards for an earlier one of the same weights, and if there is one removes its own.
    """
    api = client(workspace)
    _create_model(api, model_name)
    model_id = source.removeprefix("models:/")
    made = api.create_model_version(
        model_name, source, run_id=run_id, tags=tags, description=_shortened(description), model_id=model_id
    )
    first = find_version(api, model_name, tags[WEIGHTS_TAG]) or made
    if first.version != made.version:
        api.delete_model_version(model_name, made.version)
    return first


def _create_model(api: MlflowClient, model_name: str) -> None:
    try:
        api.get_registered_model(model_name)
        return
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    try:
        api.create_registered_model(model_name, description="Video generator trained by vgan.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else's, in this moment
            raise


def tag_version(api: MlflowClient, version: MlflowVersion, tags: dict[str, str]) -> MlflowVersion:
    """Set tags of a version, in their order; returns it as it then is."""
    for key, value in tags.items():
        if version.tags.get(key) != value:
            api.set_model_version_tag(version.name, version.version, key, value)
    return api.get_model_version(version.name, version.version)


def describe_version(workspace: Workspace, version: MlflowVersion, card: str) -> None:
    """Make a card, which names the version, its description, and keep the whole of it with its MLflow run."""
    api = client(workspace)
    if version.run_id:
        api.log_text(version.run_id, card, CARD_FILE)
    if version.description != _shortened(card):
        api.update_model_version(version.name, version.version, _shortened(card))


def _shortened(card: str) -> str:
    """The first sections of a card, as many as a description holds."""
    sections = card.split("\n## ")
    if len(card) <= DESCRIPTION_CHARACTERS:
        return card
    while len(shown := "\n## ".join(sections) + REST_OF_CARD) > DESCRIPTION_CHARACTERS and len(sections) > 1:
        sections.pop()
    return shown[:DESCRIPTION_CHARACTERS]


def refuse_reserved(alias: str) -> None:
    """Raise ConfigError for an alias that MLflow keeps for itself, and would refuse only when it is set."""
    if alias == "latest" or re.fullmatch(r"v\d+", alias):
        raise ConfigError(
            f"{alias!r} can be no alias: MLflow keeps latest, v1, v2 and so on for itself.",
            hint="Take another name, such as champion or staging.",
        )


def move_alias(api: MlflowClient, version: MlflowVersion, alias: str, before: MlflowVersion | None, by: str) -> bool:
    """Give an alias to a version if `before` still holds it, and record when, by what and who held it.

    The record is written first, on the version: a move that was cut is made and recorded again by the next call.
    MLflow has no compare-and-set, so between the last look and the move lies one request, in which another
    machine can move the alias too.

    Returns:
        False when somebody else holds the alias by now; nothing was moved.
    """
    held = None if before is None else str(before.version)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    moved = json.dumps({"at": moment, "before": held, "by": by})
    api.set_model_version_tag(version.name, version.version, f"{MOVED_TAG}.{alias}", moved)
    now = champion_version(api, version.name, alias)
    if (None if now is None else str(now.version)) != held:
        return False
    api.set_registered_model_alias(version.name, alias, version.version)
    return True


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
        record = verify_model(Path(local), version.tags.get(PACKAGE_TAG))
        yield Path(local) / PACKAGE_FOLDER, record
