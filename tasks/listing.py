"""What is registered: every version with its aliases, figures, data and age. Asking writes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks import tracking
from tasks.tracking import MlflowVersion, reading
from vgan.errors import ConfigError
from vgan.workspace import Workspace

FIGURE, SCORE, FLOOR = "eval/", "_score", "_floor"  # how tracking names a figure, its score and its floor


@dataclass(frozen=True)
class Figure:
    """A figure of a version's evaluation, as it was logged."""

    value: float
    score: float | None  # 0 at the floor of real clips, 1 at the worst control; None when it has none
    floor: float | None


@dataclass(frozen=True)
class ModelLine:
    """A registered version in the list of all."""

    model: str
    version: str
    uri: str
    aliases: tuple[str, ...]  # sorted
    figures: dict[str, Figure]  # {} when neither its tags nor its run say any of these weights
    dataset_digest: str  # of the version that it was trained on; "" when it was not vgan that registered it
    run: str  # key
    created: str  # when it was registered: ISO 8601, UTC
    age_seconds: float
    verdict: str  # what the gate said


def list_models(workspace: Workspace, name: str | None = None, *, now: float | None = None) -> list[ModelLine]:
    """Versions of all registered models, or of one: by model, the newest first.

    Args:
        workspace: whose registry is asked.
        name: of a registered model.
        now: seconds since 1970; None asks the clock.

    Raises:
        ConfigError: no model of that name.
        RegistryError: the server did not answer.
    """
    with tracking.registry_errors("listing the registered models", workspace):
        registered = reading.registered_models(workspace)
        if name is not None and name not in registered:
            known = ", ".join(sorted(registered)) or "none"
            raise ConfigError(
                f"no registered model {name!r} at {tracking.shown_uri(workspace)}.", hint=f"Registered models: {known}."
            )
        wanted = sorted(registered) if name is None else [name]
        moment = time.time() if now is None else now
        return [
            _line(workspace, version, registered[model], moment)
            for model in wanted
            for version in reading.versions_of(workspace, model)
        ]


def _line(workspace: Workspace, version: MlflowVersion, aliases: dict[str, str], now: float) -> ModelLine:
    created = version.creation_timestamp / 1000
    return ModelLine(
        model=version.name,
        version=str(version.version),
        uri=f"models:/{version.name}/{version.version}",
        aliases=tuple(sorted(alias for alias, holder in aliases.items() if str(holder) == str(version.version))),
        figures=_figures_of(workspace, version),
        dataset_digest=version.tags.get(tracking.DATASET_TAG, ""),
        run=version.tags.get(tracking.RUN_TAG, ""),
        created=datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        age_seconds=round(max(0.0, now - created), 3),
        verdict=version.tags.get(tracking.VERDICT_TAG, ""),
    )


def _figures_of(workspace: Workspace, version: MlflowVersion) -> dict[str, Figure]:
    """From its own tags, or of a version that an earlier vgan registered from its run."""
    own = {name: Figure(*figures) for name, figures in sorted(tracking.figures_of(version.tags).items())}
    return own or _figures(reading.logged_metrics(workspace, version))


def _figures(logged: dict[str, float]) -> dict[str, Figure]:
    names = [key.removeprefix(FIGURE) for key in logged if key.startswith(FIGURE)]
    return {
        name: Figure(
            logged[f"{FIGURE}{name}"], logged.get(f"{FIGURE}{name}{SCORE}"), logged.get(f"{FIGURE}{name}{FLOOR}")
        )
        for name in sorted(names)
        if not name.endswith((SCORE, FLOOR))
    }
