"""The operations page's backup: made while servers and a training go on, restored elsewhere, and generated from."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import BIN, clean_env, free_port, running, vgan, wait_until_answers

CLIPS = ("--frames", 8, "--height", 32, "--width", 32, "--labels", "folder")
QUICK = ("--budget", "1kclips", "--threads", 1, "--evaluate-clips", 16, "--evaluate-bootstrap", 20)


@contextmanager
def mlflow_at(root: Path) -> Iterator[str]:
    """The address of an MLflow server on a workspace's files, started as `vgan up` does."""
    port, log = free_port(), root.parent / f"mlflow-{root.name}.log"
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", f"{root}/mlartifacts"]
    with running(command, log, env=clean_env(), cwd=root.parent) as server:
        wait_until_answers(f"http://127.0.0.1:{port}/health", server, log, 400)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A workspace, and a server on its files."""
    root = tmp_path / "workspace"
    root.mkdir()
    with mlflow_at(root) as url:
        yield root, url


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("registered_by", ["files", "server"])
def test_a_backup_made_at_work_generates_on_another_machine(
    registered_by: str, served: tuple[Path, str], shapes_videos: Path, tmp_path: Path
) -> None:
    root, url = served
    patient = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "400"}
    files = clean_env(PREFECT_HOME=str(root / "services" / "prefect"), **patient)
    server = {"MLFLOW_TRACKING_URI": url}
    at_work = files | server
    place = ("--videos", shapes_videos, "--name", "shapes", *CLIPS)
    first = vgan("run", *place, *QUICK, "--workspace", root, env=files if registered_by == "files" else at_work)
    assert first["champion"] is True
    made: dict = {}
    training = [str(BIN / "vgan"), "run", *map(str, (*place, *QUICK)), "--seed", "1", "--workspace", str(root)]
    with open(tmp_path / "second.log", "wb") as log:
        second = subprocess.Popen(training, env=at_work, stdout=log, stderr=log, process_group=0)
    try:
        wait_for_training(root, second, tmp_path / "second.log")
        made = vgan("backup", tmp_path / "copy", "--workspace", root, env=files)
        assert second.poll() is None, "the backup came after the training"
        assert second.wait(600) == 0, (tmp_path / "second.log").read_text()[-3000:]
    finally:
        if second.poll() is None:
            second.kill()
    assert {"mlflow.db", "services/prefect/prefect.db"} <= set(made["databases"])
    new = tmp_path / "other" / "place"
    assert vgan("restore", tmp_path / "copy", "--workspace", new, env=files)["workspace"] == str(new)
    shutil.move(root, tmp_path / "away")
    if registered_by == "files":
        generate(tmp_path, new, files)
    else:
        with mlflow_at(new) as there:
            generate(tmp_path, new, files | {"MLFLOW_TRACKING_URI": there})


def wait_for_training(root: Path, child: subprocess.Popen[bytes], log: Path) -> None:
    """Until a second run has lines in its metrics."""
    end = time.monotonic() + 600
    while len(list(root.glob("runs/*/metrics.jsonl"))) < 2:
        assert child.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


def generate(tmp_path: Path, new: Path, env: dict[str, str]) -> None:
    """Use what was restored; the first workspace is out of reach."""
    assert vgan("verify", "--name", "shapes", "--workspace", new, env=env)["ok"] is True
    assert {line["model"] for line in vgan("models", "--workspace", new, env=env)["models"]} == {"shapes"}
    asked = ("--num", 1, "--seed", 5, "--format", "npy", "--out", tmp_path / "samples")
    sampled = vgan("sample", "--model", "models:/shapes@champion", *asked, "--workspace", new, env=env)
    assert Path(sampled["files"][0]).stat().st_size > 1000
