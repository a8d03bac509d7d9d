"""A registry made by hand on a real MLflow store: versions with logged figures, and no packages behind them."""

from __future__ import annotations

from tasks import tracking
from vgan.workspace import Workspace


def add_version(
    workspace: Workspace, model: str, run: str, figures: dict[str, float], *, weights: str, digest: str = "d" * 64
) -> str:
    """Register the next version of `model` and log `figures` of `weights` with its run, as a run that finishes does.

    Returns:
        The version's number.
    """
    api = tracking.client(workspace)
    experiment = tracking.experiment(api, workspace, "toys")
    run_id = tracking.find_run(api, experiment, run)
    run_id = run_id or api.create_run(experiment, tags={tracking.RUN_TAG: run}).info.run_id
    for name, value in figures.items():
        api.log_metric(run_id, f"eval/{name}", value)
    api.set_tag(run_id, tracking.WEIGHTS_TAG, weights)
    tags = {tracking.RUN_TAG: run, tracking.WEIGHTS_TAG: weights, "vgan.dataset_digest": digest}
    source = (workspace.root / "mlartifacts" / run).as_uri()
    if model not in [known.name for known in api.search_registered_models()]:
        api.create_registered_model(model)
    return str(api.create_model_version(model, source, run_id=run_id, tags=tags).version)
