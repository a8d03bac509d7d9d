"""Promises about servers that are away, answers that are lost, and registrations that meet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from relay import relayed

from tasks import registration, tracking
from tasks.tracking import reading
from vgan.config import RegisterConfig
from vgan.errors import RegistryError
from vgan.workspace import Workspace

SECONDS = 400  # at most, on a machine that is busy
REGISTER = """
import sys, time
from pathlib import Path
from tasks import registration
from vgan.config import RegisterConfig
from vgan.workspace import Workspace
root, run, ready = sys.argv[1:]
Path(ready, f"{run}-{time.time_ns()}").touch()
while len(list(Path(ready).iterdir())) < 3:  # all begin at once
    time.sleep(0.01)
print(registration.register(Workspace.open(root), run, RegisterConfig()).version)
"""


@pytest.mark.parametrize(("asked_for", "requests"), [(None, 2), ("0", 1)])
def test_a_server_that_fails_holds_up_no_training(
    workspace: Workspace, make_run, dataset, monkeypatch, asked_for, requests
) -> None:
    """FAULTS 39: it is asked once more and then left alone, unless the user wants it otherwise."""
    run = make_run("toys-1")
    if asked_for:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", asked_for)
    before = dict(os.environ)
    with relayed(lambda method, path: "refuse") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        assert tracking.best_effort("x", lambda: tracking.sync_run(workspace, run, dataset, {})) is None
        assert len(server.asked) == requests, server.asked
    assert dict(os.environ) == {**before, "MLFLOW_TRACKING_URI": server.url}


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_registrations_that_meet_make_one_version_of_each_and_the_best_is_champion(
    workspace: Workspace, make_run, tmp_path: Path
) -> None:
    """FAULTS 41: two runs that finish together, one of them registered twice; each waits for its turn."""
    for run, figure, seed in (("toys-1", 1.0, 1), ("toys-2", 0.5, 2)):
        make_run(run, figure=figure, seed=seed)
    ready = tmp_path / "ready"
    ready.mkdir()
    command = [sys.executable, "-c", REGISTER, str(workspace.root)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, run, str(ready)], **pipes) for run in ("toys-1", "toys-2", "toys-2")]
    try:
        told = [child.communicate(timeout=SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0, 0], told
    numbers = [out.strip() for out, _ in told]
    assert numbers[1] == numbers[2]
    assert sorted({*numbers}) == ["1", "2"]
    assert len(reading.versions_of(workspace, "toys")) == 2
    best = tracking.champion_version(tracking.client(workspace), "toys", "champion")
    assert best is not None
    assert best.tags["vgan.run"] == "toys-2"
    assert len(list((workspace.root / "mlartifacts").rglob("weights.safetensors"))) == 2


class MlflowServer:
    """A real server whose database and artifacts outlive it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.url, self.log = f"http://127.0.0.1:{self.port}", folder / "server.log"
        options = {
            "--backend-store-uri": f"sqlite:///{folder / 'server.db'}",
            "--default-artifact-root": (folder / "artifacts").as_uri(),
            "--host": "127.0.0.1", "--port": str(self.port), "--workers": "1",
        }  # fmt: skip
        words = [word for option in options.items() for word in option]
        self.command = [str(Path(sys.executable).parent / "mlflow"), "server", *words]

    def start(self) -> None:
        with open(self.log, "ab") as output:
            self.child = subprocess.Popen(
                self.command, stdout=output, stderr=output, process_group=0,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )  # fmt: skip
        end = time.monotonic() + SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except OSError:
                assert self.child.poll() is None and time.monotonic() < end, self.log.read_text()[-3000:]
                time.sleep(0.1)

    def kill(self) -> None:
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_registry_that_dies_between_upload_and_version_is_finished_by_the_next_call(
    workspace: Workspace, make_run, tmp_path: Path, monkeypatch
) -> None:
    """FAULTS 39: a real server is killed, comes back, and loses an answer: one upload, one version, one move."""
    server, mood = MlflowServer(tmp_path), ["kill"]
    faults = {"kill": "model-versions/create", "lose": "model-versions/create", "refuse": "registered-models/alias"}

    def script(method: str, path: str):
        if not mood or method == "GET" or not path.endswith(faults[mood[0]]):
            return "pass"
        fault = mood.pop(0)
        if fault == "kill":
            server.kill()
        return "refuse" if fault != "lose" else "lose"

    run = make_run("toys-1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        server.start()
        with relayed(script, server.url) as relay:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.url)
            with pytest.raises(RegistryError) as caught:
                registration.register(workspace, run, RegisterConfig())
            assert caught.value.retryable
            server.start()
            assert not reading.versions_of(workspace, "toys")
            mood[:] = ["lose", "refuse"]  # the client asks again by itself
            done = registration.register(workspace, run, RegisterConfig())
            assert not mood
            assert (done.version, done.champion, done.outcome) == ("1", True, "promoted")
            assert [v.version for v in reading.versions_of(workspace, "toys")] == [done.version]
            assert registration.register(workspace, run, RegisterConfig()).unchanged
    finally:
        server.kill()
    assert len(list((tmp_path / "artifacts").rglob("weights.safetensors"))) == 1
