"""Give an alias to a version by hand, above all back to an earlier one; beside the gate, so it is recorded."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tasks import tracking
from tasks.registration import TURN_SECONDS
from tasks.tracking import MlflowVersion, reading
from vgan.errors import ConfigError, ResumableError
from vgan.storage import lease
from vgan.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """Who carries the alias now, and who did before."""

    model_name: str
    version: str
    alias: str
    before: str | None  # the version that carried it; None when none did
    unchanged: bool  # it was this one
    verdict: str  # what the gate had said of this version
    model_uri: str
    tracking_uri: str


def promote(workspace: Workspace, model_name: str, number: int, alias: str) -> Promotion:
    """Move the alias to a registered version, after checking that its package is as it was registered.

    Raises:
        ConfigError: no such model or version, one that vgan did not register, or an alias that is MLflow's own.
        CorruptDataError: a file of the package is not as it was registered; nothing was moved.
        RegistryError: the server did not answer.
        ResumableError: another process moves the alias right now.
    """
    tracking.refuse_reserved(alias)
    doing = f"promoting {model_name} version {number}"
    with tracking.registry_errors(doing, workspace):
        _require(workspace, model_name, str(number))  # before the lease: asking for what is not there writes nothing
        with lease(workspace.model_lease(model_name), wait=TURN_SECONDS):
            api = tracking.client(workspace)
            version = _require(workspace, model_name, str(number))
            with tracking.downloaded(workspace, version):
                log.info("the package of %s version %s is as it was registered", model_name, number)
            before = tracking.champion_version(api, model_name, alias)
            unchanged = before is not None and str(before.version) == str(number)
            if not unchanged and not tracking.move_alias(api, version, alias, before, "promote"):
                raise ResumableError(
                    f"@{alias} of {model_name} was moved by somebody else in this moment.",
                    hint="Look with `vgan models` who holds it; run the same command again if you still want it.",
                )
    return Promotion(
        model_name=model_name,
        version=str(number),
        alias=alias,
        before=None if before is None else str(before.version),
        unchanged=unchanged,
        verdict=version.tags.get(tracking.VERDICT_TAG, ""),
        model_uri=f"models:/{model_name}/{number}",
        tracking_uri=tracking.shown_uri(workspace),
    )


def _require(workspace: Workspace, model_name: str, number: str) -> MlflowVersion:
    at = tracking.shown_uri(workspace)
    models = reading.registered_models(workspace)
    if model_name not in models:
        known = ", ".join(sorted(models)) or "none"
        raise ConfigError(f"no registered model {model_name!r} at {at}.", hint=f"Registered models: {known}.")
    versions = {str(version.version): version for version in reading.versions_of(workspace, model_name)}
    if number not in versions:
        known = ", ".join(sorted(versions, key=int)) or "none"
        raise ConfigError(f"{model_name} has no version {number} at {at}.", hint=f"Its versions: {known}.")
    version = versions[number]
    if tracking.PACKAGE_TAG not in version.tags:
        raise ConfigError(
            f"{model_name} version {number} was not registered by vgan: it has no tag {tracking.PACKAGE_TAG}, by which "
            "its package could be checked.",
            hint="Register a run with `vgan register`, or set the alias with MLflow itself.",
        )
    return version
