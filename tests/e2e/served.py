"""A real Prefect server, workers and a dataset, which the tests of faults share and kill now and then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from processes import BIN, ROOT, ask_server, clean_env, free_port, running, wait_until_answers

from flows.services.servers import SERVER_SETTINGS

SECONDS = 900  # at most, on a machine that is busy
SILENT_SECONDS = 45  # a heartbeat comes every half a minute, which is the least that Prefect takes
# Some seconds of one thread, with ten checkpoints on the way.
INGEST = {"frames": 4, "height": 16, "width": 16, "labels": "folder"}
TRAIN = {"budget": "0.2kclips", "batch": 4, "threads": 1, "preset": "tiny", "device": "cpu"}
EVALUATE = {"clips": 16, "bootstrap": 20}


def wait_for(
    what: Callable[[], Any],
    said: Callable[[], object] = lambda: "",
    seconds: float = SECONDS,
    pause: float = 0.05,
) -> Any:
    """Ask until the answer is true; returns it. A server is asked with longer pauses, which leave it to its work."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, said()
        time.sleep(pause)
    return found


class Served:
    """A Prefect server with the deployments of prefect.yaml, and workers that come and go.

    Args:
        folder: for logs and databases.
        dataset: a workspace with the dataset `shapes`, which no test changes.
        videos: of which it was made.
    """

    def __init__(self, folder: Path, dataset: Path, videos: Path) -> None:
        self.folder, self.dataset, self.videos = folder, dataset, videos
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.database = folder / "prefect" / "prefect.db"
        self.env = clean_env(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_API_URL=self.api,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            **SERVER_SETTINGS,
            PREFECT_WORKER_QUERY_SECONDS="1",
            PREFECT_WORKER_PREFETCH_SECONDS="1",
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            OMP_NUM_THREADS="1",
            PWD=str(ROOT),
        )
        self.server: subprocess.Popen[bytes] | None = None
        self._servers = ExitStack()
        self._numbers = iter(range(1000))

    def start_server(self) -> None:
        log = self.folder / "server.log"
        command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.server = self._servers.enter_context(running(command, log, env=self.env, cwd=self.folder))
        wait_until_answers(f"{self.api}/health", self.server, log, SECONDS)

    def kill_server(self) -> None:
        assert self.server
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def close(self) -> None:
        self._servers.close()

    def deploy(self) -> None:
        from prefect.client.orchestration import SyncPrefectClient
        from prefect.workers.process import ProcessWorker

        from flows.services.automations import make_automations
        from flows.services.servers import POOL, TRAINING_POOL

        template = ProcessWorker.get_default_base_job_template()
        for pool in (POOL, TRAINING_POOL):
            self.ask("/work_pools/", {"name": pool, "type": "process", "base_job_template": template})
        with SyncPrefectClient(self.api) as client:
            make_automations(client, SILENT_SECONDS)
        command = [str(BIN / "prefect"), "--no-prompt", "deploy", "--all"]
        done = subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    @contextmanager
    def worker(self, pool: str = "vgan-train") -> Iterator[psutil.Process]:
        """A worker for the length of the block, unless it is killed before."""
        log = self.folder / f"worker-{next(self._numbers)}.log"
        command = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--type", "process"]
        with running(command, log, env=self.env, cwd=self.folder) as process:
            try:
                yield psutil.Process(process.pid)
            finally:
                process.poll()  # takes note of one that was killed
                print(log.read_text()[-6000:])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return ask_server(self.api + path, body, seconds=SECONDS)

    def workspace(self, folder: Path) -> Path:
        """A workspace of one test, which has the dataset already."""
        root = folder / "workspace"
        shutil.copytree(self.dataset, root)
        return root

    def trigger(self, deployment: str, workspace: Path, environment: dict[str, str] | None = None) -> str:
        """Make a run of `train/on-demand` or `retrain/nightly` on the dataset `shapes`; returns its id."""
        flow, _, name = deployment.partition("/")
        asked: dict[str, Any] = {"name": "shapes", "workspace": str(workspace)}
        if flow == "train":
            asked["config"] = TRAIN
        else:
            asked |= {"videos": str(self.videos), "ingest_config": INGEST}
            asked |= {"train_config": TRAIN, "evaluate_config": EVALUATE}
        found = self.ask(f"/deployments/name/{flow}/{name}")
        variables = {"env": {**found["job_variables"].get("env", {}), **(environment or {})}}
        body = {"parameters": asked, "job_variables": variables, "state": {"type": "SCHEDULED"}}
        body["idempotency_key"] = str(uuid.uuid4())  # one run, however often a busy server is asked
        return self.ask(f"/deployments/{found['id']}/create_flow_run", body)["id"]

    def read(self, run: str) -> dict[str, Any]:
        return self.ask(f"/flow_runs/{run}")

    def finished(self, run: str) -> dict[str, Any]:
        """The flow run, once it has completed; crashed ones are started again."""
        over = {"COMPLETED", "FAILED", "CANCELLED"}
        found = wait_for(lambda: (now := self.read(run))["state_type"] in over and now, lambda: self.read(run), pause=1)
        assert found["state_type"] == "COMPLETED", found["state"]
        return found

    def states(self, run: str) -> list[str]:
        """The types of all states that a run was in, in order."""
        return [state["type"] for state in self.ask(f"/flow_run_states/?flow_run_id={run}")]

    def wait_until_it_says(self, run: str, *words: str) -> None:
        """Until a message of the run has all these words."""
        wait_for(
            lambda: any(all(word in line for word in words) for line in self.logs(run)), lambda: self.logs(run), pause=1
        )

    def logs(self, run: str) -> list[str]:
        """Messages that the run sent to the server."""
        return [line["message"] for line in self.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        """Nobody else reads or writes the server's database for the length of the block."""
        with closing(sqlite3.connect(self.database, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield
            database.execute("ROLLBACK")


def processes_of(run: str) -> list[psutil.Process]:
    """Processes of a flow run, known by their environment: the flow, its training, and whatever they have left."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_is_left_of(run: str) -> None:
    """A process ends a moment after its last word to the server."""
    wait_for(lambda: not processes_of(run), lambda: processes_of(run), 60)


def training_of(run: str) -> list[psutil.Process]:
    """The training processes of a flow run."""
    return [process for process in processes_of(run) if "vgan.training" in _command(process)]


def flow_of(run: str) -> psutil.Process:
    """The process that runs the flow: the training's parent."""
    (training,) = training_of(run)
    parent = training.parent()
    assert parent is not None
    return parent


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def checkpoints(workspace: Path) -> list[Path]:
    """Manifests: tensors that none names yet are no checkpoint."""
    return sorted(workspace.glob("runs/*/checkpoints/????????.json"))


def wait_until_it_trains(workspace: Path, run: str) -> None:
    """Until it has written a checkpoint, and is at work beyond it."""
    wait_for(lambda: checkpoints(workspace) and training_of(run), lambda: list(workspace.glob("runs/*/*")))


def outcome(workspace: Path) -> tuple[str, bytes]:
    """(hash of the weights, metrics.jsonl) of the workspace's only run."""
    (record,) = workspace.glob("runs/*/run.json")
    return json.loads(record.read_text())["generator"]["weights_sha256"], (record.parent / "metrics.jsonl").read_bytes()


def resumes(workspace: Path) -> int:
    """How often the workspace's only run was gone on with from a checkpoint."""
    return sum(log.read_text().count("resuming at step") for log in workspace.glob("runs/*/train.log"))


@contextmanager
def standing_still(run: str) -> Iterator[psutil.Process]:
    """The training process stops for the length of the block, so that it is in its middle on any machine."""
    (training,) = training_of(run)
    training.suspend()
    try:
        yield training
    finally:
        with suppress(psutil.NoSuchProcess):
            training.resume()
