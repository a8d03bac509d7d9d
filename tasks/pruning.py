"""Remove what a workspace no longer needs: the registry says which runs and dataset versions its aliases stand on."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tasks import tracking
from tasks.registration import TURN_SECONDS
from tasks.tracking import reading
from vgan.pruning import Needs, Pruned, Rule, prune_workspace
from vgan.storage import lease
from vgan.workspace import Workspace

DAY_SECONDS = 24 * 3600.0


def prune(workspace: Workspace, keep: int, idle_days: float, *, remove: bool) -> Pruned:
    """Say what may go, or remove it; while it is removed no registration of this workspace moves an alias.

    Args:
        workspace: of which the local files are looked at.
        keep: newest finished runs, and newest versions, that stay of each dataset.
        idle_days: unfinished runs, waiting batches and caches that were used in the last so many days stay.
        remove: False to only look.

    Raises:
        ConfigError, CorruptDataError, StorageError: as `prune_workspace`.
        RegistryError: MLflow does not answer, so nobody knows what its aliases need; nothing was removed.
        ResumableError: a registration has been at work for a quarter of an hour.
    """
    now = time.time()
    rule = Rule(keep=keep, idle_before=now - idle_days * DAY_SECONDS)
    with ExitStack() as held:
        if remove:
            for name in sorted(_models(workspace)):
                held.enter_context(lease(workspace.model_lease(name), wait=TURN_SECONDS))
        return prune_workspace(workspace, rule, registry_needs(workspace), now, remove=remove)


def _models(workspace: Workspace) -> dict[str, dict[str, str]]:
    with tracking.registry_errors("asking which versions carry an alias", workspace), tracking.impatient():
        return reading.registered_models(workspace)


def registry_needs(workspace: Workspace) -> Needs:
    """The runs and dataset versions behind every version that carries an alias; raises RegistryError."""
    runs: dict[str, str] = {}
    versions: dict[str, str] = {}
    registered: set[str] = set()
    models = _models(workspace)
    with tracking.registry_errors("asking which versions carry an alias", workspace), tracking.impatient():
        for model, aliases in sorted(models.items()):
            for version in reading.versions_of(workspace, model):
                run, digest = version.tags.get(tracking.RUN_TAG), version.tags.get(tracking.DATASET_TAG)
                carried = [f"@{alias}" for alias, number in sorted(aliases.items()) if number == str(version.version)]
                why = f"models:/{model}/{version.version} carries {', '.join(carried)}"
                if run:
                    registered.add(run)
                if carried and run:
                    runs[run] = why
                if carried and digest:
                    versions[digest] = why
    return Needs(runs=runs, versions=versions, registered=frozenset(registered))
