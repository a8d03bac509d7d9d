"""Flow `retrain`: the whole chain, from a folder of videos to a registered generator."""

from __future__ import annotations

from prefect import flow

from flows.ingest_flow import ingest
from flows.parameters import (
    DatasetName,
    EvaluateSettings,
    IngestSettings,
    RegisterSettings,
    TrainSettings,
    Videos,
    WorkspaceFolder,
)
from tasks.evaluate import evaluate
from tasks.failures import explained
from tasks.register import register
from tasks.story import telling
from tasks.train import train
from vgan.config import EvaluateConfig, IngestConfig, RegisterConfig, TrainConfig
from vgan.records import IngestReport, RetrainReport
from vgan.workspace import Workspace


@flow(name="retrain", flow_run_name="retrain {name}", result_serializer="json")
@explained
def retrain(
    videos: Videos,
    name: DatasetName,
    train_config: TrainSettings = TrainConfig(),
    ingest_config: IngestSettings = IngestConfig(),
    evaluate_config: EvaluateSettings = EvaluateConfig(),
    register_config: RegisterSettings = RegisterConfig(),
    workspace: WorkspaceFolder = None,
) -> RetrainReport:
    """Ingest new videos, train, evaluate, and register the model; what is there already is not done again.

    When nothing has changed since the last training, the run ends in seconds and says so.

    Args:
        videos: Folder of videos, searched with all its subfolders, or a URL such as s3://bucket/folder.
        name: Dataset, and registered model unless another name is given.
        train_config: Size, budget, device and seed of the training, and what it starts from.
        ingest_config: How videos become clips; give ingest/hourly the same.
        evaluate_config: How generated clips are compared with held-out ones.
        register_config: Where the model is registered and which alias the best one carries.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    root = str(Workspace.open(workspace).root)
    with telling(root, name) as story:
        # What comes here is trained on here, and announced to nobody.
        ingested = ingest(videos, name, retrain_after=None, config=ingest_config, workspace=root)
        report = IngestReport.model_validate(ingested)  # when the run is tried again, Prefect returns plain JSON
        story.ingested(report)
        trained, unchanged = train(root, name, train_config, report.dataset_digest)
        story.trained(trained, unchanged)
        evaluation, unchanged = evaluate(root, trained.run, evaluate_config)
        story.evaluated(evaluation, unchanged)
        story.registered(register(root, trained.run, register_config))
    return story.ended()
