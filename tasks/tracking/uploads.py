"""The upload of a packaged model: made once, and what an earlier try left behind is used or removed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from tasks.tracking.server import client
from tasks.tracking.tags import PACKAGE_TAG, UPLOADED_TAG, WEIGHTS_TAG
from vgan.records import TrainedRun
from vgan.registry.package import ENTRY_FILE, build_package
from vgan.workspace import Workspace

NAME = "generator"
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.long, "num_videos")]),
    params=ParamSchema(
        [
            ParamSpec("seed", DataType.long, 0),
            ParamSpec("to_seed", DataType.long, -1),
            ParamSpec("label", DataType.string, ""),
            ParamSpec("frames", DataType.long, 0),
            ParamSpec("fps", DataType.double, 0.0),
            ParamSpec("truncation", DataType.double, 1.0),
            ParamSpec("output", DataType.string, "array"),
            ParamSpec("codec", DataType.string, "auto"),
        ]
    ),
)
INPUT_EXAMPLE = (pd.DataFrame({"num_videos": [1]}), {"seed": 0, "label": "", "output": "array", "frames": 0})


def upload_model(workspace: Workspace, run_id: str, trained: TrainedRun, card: str) -> tuple[str, str]:
    """Package the generator and upload it as a logged model of the run; a repeated call finds the first upload.

    Returns:
        (uri of the logged model, sha256 of the package's index).
    """
    api = client(workspace)
    weights = trained.generator.weights_sha256
    # One tag for all three: two machines may train one run to weights that differ in the last bits.
    uploaded = api.get_run(run_id).data.tags.get(UPLOADED_TAG, "").split()
    if uploaded[:1] == [weights]:
        return uploaded[2], uploaded[1]
    uri, package_sha256 = _earlier(api, run_id, weights) or _upload(workspace, run_id, trained, card)
    api.set_tag(run_id, UPLOADED_TAG, f"{weights} {package_sha256} {uri}")
    return uri, package_sha256


def _earlier(api: MlflowClient, run_id: str, weights_sha256: str) -> tuple[str, str] | None:
    """An upload of these weights that was finished before it could be noted. Those that were cut are deleted.

    One that another machine is making at this moment is deleted too: it sees that, and its next try finds ours.
    """
    found = None
    for model in _logged_models(api, run_id):
        if str(model.status) != "READY":
            api.delete_logged_model(model.model_id)
        elif model.tags.get(WEIGHTS_TAG) == weights_sha256 and PACKAGE_TAG in model.tags:
            found = model.model_uri, model.tags[PACKAGE_TAG]
    return found


def _logged_models(api: MlflowClient, run_id: str) -> list[LoggedModel]:
    experiment, found, token = api.get_run(run_id).info.experiment_id, [], None
    while True:
        page = api.search_logged_models([experiment], f"source_run_id = '{run_id}'", page_token=token)
        found += page
        if not (token := page.token):
            return found


def _upload(workspace: Workspace, run_id: str, trained: TrainedRun, card: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / NAME
        package_sha256 = build_package(workspace.run(trained.run).generator, card, package)
        with mlflow.start_run(run_id=run_id), _no_bytecode():
            info = mlflow.pyfunc.log_model(
                name=NAME,
                python_model=str(ENTRY_FILE),
                artifacts={"generator": str(package)},
                signature=SIGNATURE,
                input_example=INPUT_EXAMPLE,
                pip_requirements=_requirements(),
                tags={WEIGHTS_TAG: trained.generator.weights_sha256, PACKAGE_TAG: package_sha256},
            )
    return info.model_uri, package_sha256


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """MLflow tries the model where it is about to be uploaded from, and Python would leave its own files there."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _requirements() -> list[str]:
    """What the packaged model needs, at the versions of this process; c2pa-python signs, where it is installed."""
    from importlib.metadata import version
    from importlib.util import find_spec

    names = ["mlflow", "torch", "numpy", "safetensors", "pydantic", "pandas", "ffmpeg-python"]
    names += ["c2pa-python"] if find_spec("c2pa") else []
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
