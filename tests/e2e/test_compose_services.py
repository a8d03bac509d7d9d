"""The services of deploy/compose.yaml, each by its own command and environment, without containers."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from composed import DEPLOY, Plain, compose, needed
from postgres import PASSWORD, postgresql, programs
from processes import ROOT, free_port, running, wait_until_answers

SECONDS = 300  # at most, on a machine that is busy
SECRET = "0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.skipif(
    programs() is None or shutil.which("redis-server") is None, reason="no PostgreSQL or no Redis is installed"
)


def answer(url: str, user: str = "", body: dict[str, Any] | None = None) -> Any:
    """What a server answers to a user; the code of a refusal."""
    headers = {"Content-Type": "application/json"}
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return json.loads(answered.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code


def test_every_service_starts_by_its_command_and_a_worker_of_each_pool_comes_online(tmp_path: Path) -> None:
    variables = dict.fromkeys(needed(), SECRET) | {"VGAN_POSTGRES_PASSWORD": PASSWORD}
    ports = {name: free_port() for name in ("prefect", "mlflow", "redis", "worker", "training-worker")}
    folders = {name: tmp_path / name for name in ("workspace", "mlartifacts", "redis", "home", "etc")}
    for folder in folders.values():
        folder.mkdir()

    def plain(database: str, health: int) -> Plain:
        instead = {
            r"postgres:5432/vgan": database,
            r"prefect:4200|127\.0\.0\.1:4200": f"127.0.0.1:{ports['prefect']}",
            r"mlflow:5000": f"127.0.0.1:{ports['mlflow']}",
            r"redis:6379": f"127.0.0.1:{ports['redis']}",
            r"0\.0\.0\.0": "127.0.0.1",
            r"\b4200\b": str(ports["prefect"]),
            r"\b5000\b": str(ports["mlflow"]),
            r"\b6379\b": str(ports["redis"]),
            r"\b8080\b": str(health),
            r"^redis$": "127.0.0.1",
            r"/workspace\b": str(folders["workspace"]),
            r"/mlartifacts\b": str(folders["mlartifacts"]),
            r"/data\b": str(folders["redis"]),
            r"/etc/(?=redis|mlflow)": f"{folders['etc']}/",
        }
        return Plain(variables, instead, folders["home"])

    with ExitStack() as until_the_end:
        postgres = until_the_end.enter_context(postgresql())
        until_the_end.enter_context(postgres.up())
        database = urlsplit(postgres.url)
        at = f"127.0.0.1:{database.port}{database.path}"
        here = plain(at, 0)

        def start(name: str, url: str, services: Plain = here) -> None:
            command, env = services.service(name)
            log = tmp_path / f"{name}.log"
            process = until_the_end.enter_context(running(command, log, env=env, cwd=ROOT))
            if url:
                wait_until_answers(url, process, log, SECONDS)

        def finish(name: str) -> str:
            command, env = here.service(name)
            done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"
            return done.stdout

        (folders["etc"] / "redis.conf").write_text(here.here(compose(variables)["configs"]["redis"]["content"]))
        (folders["etc"] / "mlflow-auth.ini").write_text(here.here((DEPLOY / "mlflow-auth.ini").read_text()))
        start("redis", "")
        assert "PostgreSQL" in finish("database")
        start("prefect", f"http://127.0.0.1:{ports['prefect']}/api/health")
        start("mlflow", f"http://127.0.0.1:{ports['mlflow']}/health")
        assert "deployments are there" in finish("prepare")
        for name in ("worker", "training-worker"):
            start(name, f"http://127.0.0.1:{ports[name]}/health", plain(at, ports[name]))

        api, user = f"http://127.0.0.1:{ports['prefect']}/api", f"vgan:{SECRET}"
        assert answer(f"{api}/deployments/filter", body={}) == 401, "nobody comes in without the password"
        found = {one["name"]: one["work_pool_name"] for one in answer(f"{api}/deployments/filter", user, {})}
        assert found["nightly"] == "vgan-train" and found["hourly"] == "vgan"
        directories = json.dumps([one["pull_steps"] for one in answer(f"{api}/deployments/filter", user, {})])
        assert str(ROOT) in directories, "as /app in the image"
        assert answer(f"{api}/v2/concurrency_limits/gpu", user)["limit"] >= 1
        assert len(answer(f"{api}/automations/filter", user, {})) >= 4
        end = time.monotonic() + SECONDS
        for pool in ("vgan", "vgan-train"):
            while not [
                w for w in answer(f"{api}/work_pools/{pool}/workers/filter", user, {}) if w["status"] == "ONLINE"
            ]:
                assert time.monotonic() < end, (tmp_path / "worker.log").read_text()[-3000:]
                time.sleep(0.5)

        search = f"http://127.0.0.1:{ports['mlflow']}/api/2.0/mlflow/experiments/search"
        assert answer(search, body={"max_results": 1}) == 401
        assert answer(search, f"admin:{SECRET}", {"max_results": 1})["experiments"]
        assert any(folders["redis"].rglob("*.aof")), "Redis keeps what Prefect gave it"
        logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
        assert SECRET not in logs and PASSWORD not in logs
