"""Secrets of the environment stay in the environment."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from ingesting import ROOT

SECRETS = {
    "AWS_ACCESS_KEY_ID": "canary-of-the-account",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket",
    "AWS_SESSION_TOKEN": "canary-of-the-session",
    "PREFECT_API_KEY": "canary-of-the-server",
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-the-registry",
    "VGAN_DATABASE_URL": "postgresql://vgan:canary-of-the-database@127.0.0.1:9/vgan",
}


def vgan(workspace, *words, **more):
    command = [sys.executable, "-c", "from flows.cli.app import main; main()", *words, "--workspace", workspace.root]
    environment = {**os.environ, **SECRETS, **{name: str(value) for name, value in more.items()}}
    return subprocess.run([*map(str, command)], check=False, cwd=ROOT, env=environment, capture_output=True)


@pytest.fixture
def videos(shapes_videos, tmp_path):
    """Good videos and a bad one."""
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "good").symlink_to(shapes_videos)
    (folder / "bad.mp4").write_text("no video")
    return folder


def test_what_the_commands_say_and_write_holds_no_secret(workspace, videos, tmp_path):
    """FAULTS 45: neither the outputs of ingest and inspect nor a failure's message hold what the environment does."""
    size = ("--frames", "8", "--height", "16", "--width", "16")
    runs = [
        vgan(workspace, "ingest", "--videos", videos, "--name", "shapes", "--follow-outside", *size),
        vgan(workspace, "inspect", "--name", "shapes", "--out", tmp_path / "page.html"),
        vgan(workspace, "ingest", "--videos", videos / "bad.mp4", "--name", "none", *size),
    ]
    assert [done.returncode for done in runs] == [0, 0, 65], runs[0].stderr
    written = [path for path in workspace.root.rglob("*") if path.is_file()] + [tmp_path / "page.html"]
    assert {path.suffix for path in written} >= {".json", ".tar", ".db", ".html"}
    said = [part for done in runs for part in (done.stdout, done.stderr)]
    assert not [text for text in (*said, *(path.read_bytes() for path in written)) if b"canary" in text]


def holding(folders, said):
    """What holds a secret: names of files, and texts that were printed."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    return [str(path) for path in files if b"canary" in path.read_bytes()] + [
        text for text in said if b"canary" in text
    ]


@contextmanager
def mlflow_server(folder):
    """A real one, which is named with a password in its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, process_group=0, cwd=folder)
    try:
        end = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-3000:]
                time.sleep(0.3)
        yield f"http://somebody:canary-in-the-address@127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_a_whole_run_leaves_no_secret_anywhere(workspace, videos, tmp_path):
    """FAULTS 45: not in a byte of workspace, report, model, MLflow's and Prefect's databases, logs and messages."""
    home = tmp_path / "prefect"
    auth = {"PREFECT_HOME": home, "PREFECT_API_AUTH_STRING": "admin:canary-of-prefect", "PREFECT_API_KEY": ""}
    auth["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = 400
    quick = "--budget 1kclips --evaluate-clips 16 --evaluate-bootstrap 20 --threads 1"
    clips = "--follow-outside --frames 8 --height 32 --width 32 --heldout 0.5"
    place = ("--videos", videos, "--name", "shapes", *clips.split(), *quick.split())
    with mlflow_server(tmp_path / "mlflow") as url:
        runs = [vgan(workspace, "run", *place, **auth, MLFLOW_TRACKING_URI=url)]
        assert runs[0].returncode == 0, runs[0].stderr[-3000:].decode()
        runs.append(vgan(workspace, "sample", "--model", "models:/shapes@champion", "--out", tmp_path / "samples",
                         "--num", "1", **auth, MLFLOW_TRACKING_URI=url))  # fmt: skip
        runs.append(vgan(workspace, "doctor", **auth, MLFLOW_TRACKING_URI=url))
        runs.append(vgan(workspace, "prune", "--keep", "1", **auth, MLFLOW_TRACKING_URI=url))
        assert [done.returncode for done in runs] == [0] * 4, [done.stderr[-2000:] for done in runs]
    # And when what they open is away.
    gone = {**auth, "MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": 0}
    failed = [
        vgan(workspace, "models", **gone),
        vgan(workspace, "prune", "--keep", "1", **gone),
        vgan(workspace, "doctor", **gone, PREFECT_API_URL="http://admin:canary-in-the-address@127.0.0.1:9/api"),
        vgan(workspace, "up", **gone),
    ]
    assert [done.returncode for done in failed] == [75, 75, 2, failed[3].returncode] and failed[3].returncode
    assert (home / "prefect.db").stat().st_size > 100_000, "Prefect's logs lie elsewhere than this test looks"
    folders = (workspace.root, home, tmp_path / "mlflow", tmp_path / "samples")
    assert not holding(folders, [text for done in runs + failed for text in (done.stdout, done.stderr)])
