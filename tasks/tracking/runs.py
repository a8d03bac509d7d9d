"""The MLflow run of a training run: parameters, lineage, curves, figures, pictures and the uploaded package."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag

from tasks.tracking.server import URI_VARIABLE, client
from tasks.tracking.tags import DATASET_TAG, EVALUATION_TAG, RUN_TAG, WEIGHTS_TAG, verdict_tags
from vgan.config import IngestConfig, TrainConfig
from vgan.records import Dataset, Evaluation, TrainedRun, Verdict
from vgan.workspace import RunFolder, Workspace

SYSTEM = "system/"  # what MLflow shows on a page of its own
METRICS_PER_CALL = 900  # MLflow takes at most 1000 in one call


def find_run(api: MlflowClient, experiment_id: str, run: str) -> str | None:
    """The MLflow run of a training run, by its tag: the first, should there be several."""
    found = api.search_runs(
        [experiment_id], f"tags.`{RUN_TAG}` = '{run}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    return found[0].info.run_id if found else None


def experiment(api: MlflowClient, workspace: Workspace, name: str) -> str:
    """Id of the dataset's experiment, created when it is not there."""
    known = api.get_experiment_by_name(name)
    if known:
        return known.experiment_id
    embedded = not os.environ.get(URI_VARIABLE)
    # A server chooses its own artifact store; the embedded default keeps artifacts in the workspace.
    location = (workspace.root / "mlartifacts" / name).as_uri() if embedded else None
    return api.create_experiment(name, artifact_location=location)


def settings(train: TrainConfig, ingest: IngestConfig) -> dict[str, Any]:
    """The parameters that MLflow shows for a run."""
    return {**train.model_dump(), **{f"data.{key}": value for key, value in ingest.model_dump().items()}}


def sync_run(workspace: Workspace, run: str, dataset: Dataset, config: dict[str, Any]) -> str:
    """Bring MLflow up to date with the run folder: parameters, lineage and metrics that it has not seen.

    Returns:
        The id of the MLflow run, created on the first call.
    """
    api = client(workspace)
    experiment_id = experiment(api, workspace, dataset.name)
    run_id = find_run(api, experiment_id, run)
    if run_id is None:
        tags = {RUN_TAG: run, DATASET_TAG: dataset.digest()}
        run_id = _create_run(api, experiment_id, run, tags)
    known = api.get_run(run_id)
    if known.inputs is None or not known.inputs.dataset_inputs:
        api.log_inputs(run_id, [_dataset_input(workspace, dataset)])
    params = [Param(key, str(value)) for key, value in config.items() if key not in known.data.params]
    api.log_batch(run_id, params=params)
    _replay_metrics(api, run_id, workspace.run(run).metrics)
    _replay_system(api, run_id, workspace.run(run).system)
    return run_id


def _create_run(api: MlflowClient, experiment_id: str, run: str, tags: dict[str, str]) -> str:
    """A new MLflow run, unless there is one by now: another machine's, or one whose answer was lost on the way."""
    made = api.create_run(experiment_id, tags=tags, run_name=run).info.run_id
    first = find_run(api, experiment_id, run) or made
    if first != made:
        api.delete_run(made)
    return first


def _dataset_input(workspace: Workspace, dataset: Dataset) -> DatasetInput:
    """The dataset version as the run's input: the kept manifest is its source."""
    source = json.dumps({"uri": str(workspace.dataset(dataset.name).version(dataset.digest()))})
    entity = MlflowDataset(dataset.name, dataset.digest()[:32], source_type="local", source=source)
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def _replay_metrics(api: MlflowClient, run_id: str, path: Path) -> None:
    """Log the lines of metrics.jsonl that lie beyond the last step that MLflow has."""
    if not path.exists():
        return
    last, now = _last_step(api, run_id, "clips"), _milliseconds()
    waiting: list[Metric] = []
    for values in _whole_lines(path):
        step = int(values["step"])
        if step > last:
            waiting += [Metric(k, float(v), now, step) for k, v in values.items() if k != "step" and v is not None]
    _log(api, run_id, waiting)


def _replay_system(api: MlflowClient, run_id: str, path: Path) -> None:
    """Log the lines of system.jsonl that MLflow has not seen; their place in the file is their step."""
    if not path.exists():
        return
    last = _last_step(api, run_id, f"{SYSTEM}cpu_utilization_percentage")
    waiting: list[Metric] = []
    for step, values in enumerate(_whole_lines(path)):
        if step > last:
            at = int(values.pop("time"))
            waiting += [Metric(f"{SYSTEM}{name}", float(value), at, step) for name, value in values.items()]
    _log(api, run_id, waiting)


def _last_step(api: MlflowClient, run_id: str, metric: str) -> int:
    return max((value.step for value in api.get_metric_history(run_id, metric)), default=-1)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return  # it is just being written


def _log(api: MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    for start in range(0, len(metrics), METRICS_PER_CALL):
        api.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def finish_run(
    workspace: Workspace, run_id: str, trained: TrainedRun, evaluation: Evaluation, verdict: Verdict
) -> None:
    """Log what a finished run is judged by and what was decided: figures, samples, report, card and verdict."""
    api = client(workspace)
    folder = workspace.run(trained.run)
    figures = {f"eval/{m.name}": m.value for m in evaluation.metrics}
    figures |= {f"eval/{m.name}_floor": m.floor for m in evaluation.metrics}
    figures |= {f"eval/{m.name}_score": m.score for m in evaluation.metrics if m.score is not None}
    figures |= {f"probe/{name}": value for name, value in evaluation.probes.items()}
    # Of a run that is refused for it, a figure may not be finite, which not every store takes.
    kept = {key: value for key, value in figures.items() if math.isfinite(value)}
    metrics = [Metric(key, value, _milliseconds(), trained.steps) for key, value in kept.items()]
    tags = {
        "vgan.git_commit": trained.git_commit or "",
        "vgan.device": trained.device,
        WEIGHTS_TAG: trained.generator.weights_sha256,
        EVALUATION_TAG: evaluation.digest(),
        "vgan.protocol": evaluation.protocol,
        **verdict_tags(verdict),
    }
    api.log_batch(run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items()])
    for path in _artifacts(folder):
        api.log_artifact(run_id, str(path), "samples" if path.parent == folder.samples else None)
    api.set_terminated(run_id, "FINISHED")


def _artifacts(folder: RunFolder) -> list[Path]:
    files = [
        folder.config,
        folder.record,
        folder.evaluation,
        folder.verdict,
        folder.report,
        folder.card,
        folder.metrics,
    ]
    return [path for path in files if path.exists()] + sorted(folder.samples.glob("*.*"))
