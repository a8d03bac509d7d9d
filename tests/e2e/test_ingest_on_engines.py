"""An ingest on a real Dask and a real Ray cluster of two workers, one of which is killed: the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import BIN, clean_env, free_port, running, wait_until_answers
from s3_server import S3Server

from vgan.config import IngestConfig
from vgan.data.ingest import ingest
from vgan.remote import RemoteFolder
from vgan.workspace import Workspace

ENGINES = ("dask", "ray")
CONFIG = IngestConfig(frames=8, height=32, width=32, labels="folder", videos_per_batch=4)
OPTIONS = ["--frames", "8", "--height", "32", "--width", "32", "--labels", "folder", "--videos-per-batch", "4"]
SECONDS = 900  # at most, on a machine that is busy


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server to which every process of a cluster reports."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    env = clean_env(PREFECT_HOME=str(folder), PREFECT_API_URL=api, PREFECT_SERVER_ANALYTICS_ENABLED="false")
    log = folder / "server.log"
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, log, env=env) as server:
        wait_until_answers(f"{api}/health", server, log, SECONDS)
        yield api


@pytest.fixture(scope="module")
def expected(shapes_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every file that an ingest in threads of one process commits, by its sha256."""
    workspace = Workspace.open(tmp_path_factory.mktemp("threads"))
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    return committed(workspace)


def committed(workspace: Workspace) -> dict[str, str]:
    """The manifest, versions, records and shards; nothing else may be left but what belongs to this machine."""
    root = workspace.dataset("shapes").path
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    own = ("sources.db", ".", "published.json", "shards/.copies", "in-use/")
    kept = {name: path for name, path in files.items() if not name.startswith(own) or name.startswith(".tmp")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(kept.items())}


def task_states(api: str, name: str) -> list[str]:
    """Of all task runs that begin with this name, as the server knows them."""
    words = json.dumps({"task_runs": {"name": {"like_": name}}}).encode()
    asked = urllib.request.Request(f"{api}/task_runs/filter", words, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return [run["state_type"] for run in json.load(answer)]


def kill_a_worker(flow: psutil.Process) -> None:
    """Kill a process of the cluster that has a video being decoded."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and flow.status() != psutil.STATUS_ZOMBIE:
        for process in flow.children(recursive=True):
            try:
                if "-S" in process.cmdline() and (worker := process.parent()) and worker.pid != flow.pid:
                    worker.kill()
                    return
            except psutil.Error:
                continue
        time.sleep(0.01)
    raise AssertionError("no process of the cluster ever decoded anything")


@pytest.mark.timeout(2000)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_cluster_makes_the_same_bytes_although_a_worker_is_killed_in_mid_batch(
    engine: str, api: str, shapes_videos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip(f"prefect_{engine}")
    environment = clean_env(PREFECT_API_URL=api, PREFECT_HOME=str(tmp_path / "prefect"), RAY_TMPDIR="/tmp")
    command = [BIN / "vgan", "ingest", "--videos", shapes_videos, "--name", "shapes", *OPTIONS, "--json"]
    on_cluster = [*command, "--runner", engine, "--workspace", tmp_path / "workspace"]
    before = len(task_states(api, "ingest-batch-"))
    with (
        open(tmp_path / "said", "wb") as said,
        subprocess.Popen(on_cluster, env=environment, stdout=subprocess.PIPE, stderr=said, process_group=0) as command_,
    ):
        flow = psutil.Process(command_.pid)
        try:
            kill_a_worker(flow)
            family = flow.children(recursive=True)
            out = command_.communicate(timeout=SECONDS)[0]
        finally:
            if command_.poll() is None:
                os.killpg(command_.pid, signal.SIGKILL)
    told = (tmp_path / "said").read_text()
    assert command_.returncode == 0, told[-4000:]
    assert not json.loads(out)["unchanged"]
    workspace = Workspace.open(tmp_path / "workspace")
    swept = {name: digest for name, digest in committed(workspace).items() if "/.tmp-" not in name}
    assert swept == expected
    assert not psutil.wait_procs(family, timeout=30)[1], "nothing of the cluster is left"
    known, end = before + len(list(shapes_videos.rglob("*.mp4"))) // CONFIG.videos_per_batch, time.monotonic() + 60
    while (states := task_states(api, "ingest-batch-")) != ["COMPLETED"] * known:
        assert time.monotonic() < end, states  # the server learns of them by events
        time.sleep(0.5)
    # What the killed worker left in the middle of writing goes at the next ingest, which finds nothing else to do.
    assert ingest(workspace, str(shapes_videos), "shapes", CONFIG).unchanged
    assert committed(workspace) == expected


@pytest.mark.timeout(2000)
def test_a_running_cluster_takes_videos_from_a_bucket_and_the_version_is_published(
    api: str, bucket: str, s3_endpoint: S3Server, shapes_videos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    """FAULTS 45: also the processes of a cluster never say the secret key, which no task carries."""
    pytest.importorskip("prefect_dask")
    for video in sorted(shapes_videos.rglob("*.mp4")):
        RemoteFolder(f"{bucket}/videos").put(video, str(video.relative_to(shapes_videos)))
    environment = clean_env(
        **s3_endpoint.environment, PREFECT_API_URL=api, PREFECT_HOME=str(tmp_path / "prefect"),
        VGAN_DATASETS=f"{bucket}/datasets",
    )  # fmt: skip
    address, logs = f"tcp://127.0.0.1:{free_port()}", [tmp_path / f"{name}.log" for name in ("scheduler", "a", "b")]
    dask = [str(BIN / "dask")]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    worker = [*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    with (
        running(scheduler, logs[0], env=environment),
        running(worker, logs[1], env=environment),
        running(worker, logs[2], env=environment),
    ):
        command = [BIN / "vgan", "ingest", "--videos", f"{bucket}/videos", "--name", "shapes", *OPTIONS, "--json"]
        options = ["--runner", "dask", "--runner-address", address, "--workspace", tmp_path / "workspace"]
        done = subprocess.run(
            [*command, *options], check=False, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    assert done.returncode == 0, done.stderr[-4000:] + logs[1].read_text()[-4000:]
    shards = {name: digest for name, digest in expected.items() if name.startswith("shards/")}
    there = RemoteFolder(f"{bucket}/datasets/shapes")
    found = {file.path for file in there.files() if file.path.startswith("shards/")}
    assert found == set(shards)
    assert {name: hashlib.sha256(there.read_bytes(name, 1 << 30) or b"").hexdigest() for name in found} == shards
    for text in (done.stdout, done.stderr, *(log.read_text() for log in logs)):
        assert "canary" not in text
