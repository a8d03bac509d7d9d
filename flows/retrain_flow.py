"""Flow `retrain`: the whole chain, from a folder of videos to a registered generator."""

from __future__ import annotations

import time

from prefect import flow

from flows.ingest_flow import ingest
from tasks.evaluate import evaluate
from tasks.register import register
from tasks.train import train
from vgan.config import EvaluateConfig, IngestConfig, Name, RegisterConfig, TrainConfig
from vgan.records import RetrainReport
from vgan.workspace import Workspace


@flow(name="retrain", result_serializer="json")
def retrain(
    videos: str,
    name: Name,
    ingest_config: IngestConfig = IngestConfig(),
    train_config: TrainConfig = TrainConfig(),
    evaluate_config: EvaluateConfig = EvaluateConfig(),
    register_config: RegisterConfig = RegisterConfig(),
    workspace: str | None = None,
) -> RetrainReport:
    """Ingest new videos, train, evaluate, and register the model; what is there already is not done again.

    Args:
        videos: Folder of videos, searched with all its subfolders, or a URL such as s3://bucket/folder.
        name: Dataset, and registered model unless another name is given.
        ingest_config: How videos become clips.
        train_config: Size, budget, device and seed of the training, and what it starts from.
        evaluate_config: How generated clips are compared with held-out ones.
        register_config: Where the model is registered and which alias the best one carries.
        workspace: Folder for everything that is written; empty takes VGAN_WORKSPACE or ./workspace.
    """
    root = str(Workspace.open(workspace).root)
    marks = [time.monotonic()]
    report = ingest(videos, name, ingest_config, root)
    marks.append(time.monotonic())
    trained, train_unchanged = train(root, name, train_config, report.dataset_digest)
    marks.append(time.monotonic())
    evaluation, evaluate_unchanged = evaluate(root, trained.run, evaluate_config)
    marks.append(time.monotonic())
    version = register(root, trained.run, register_config)
    marks.append(time.monotonic())
    unchanged = (report.unchanged, train_unchanged, evaluate_unchanged, version.unchanged)
    stages = ("ingest", "train", "evaluate", "register")
    return RetrainReport(
        ingest=report,
        trained=trained,
        evaluation=evaluation,
        model=version,
        stages={stage: "unchanged" if same else "done" for stage, same in zip(stages, unchanged, strict=True)},
        seconds={s: round(b - a, 2) for s, a, b in zip(stages, marks[:-1], marks[1:], strict=True)},
    )
