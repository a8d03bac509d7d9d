"""`vgan doctor` on real servers: open ones, locked ones, and ones on which something is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import BIN, clean_env, free_port, running, vgan, wait_until_answers

from flows.doctor import asking, orchestration

PAIR = "admin:open sesame"
BASIC_AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = admin
admin_password = open-sesame-1234
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
REACHABLE = [a for each in psutil.net_if_addrs().values() for a in each if a.family == 2 and a.address != "127.0.0.1"]
needs_address = pytest.mark.skipif(not REACHABLE, reason="this machine has no address but its loopback")


def checks(folder: Path, code: int = 0, **settings: str) -> list[dict[str, str]]:
    env = clean_env(PREFECT_HOME=str(folder / "prefect"), XDG_CONFIG_HOME=str(folder), **settings)
    return vgan("doctor", "--workspace", folder / "workspace", env=env, code=code)["checks"]


def named(found: list[dict[str, str]], check: str) -> dict[str, str]:
    return next((each for each in found if each["check"] == check), {"state": "none", "detail": "", "remedy": ""})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doctor")


def prefect_server(folder: Path, host: str, **settings: str) -> Iterator[str]:
    port, log = free_port(), folder / f"prefect-{host}.log"
    url = f"http://127.0.0.1:{port}"
    env = clean_env(
        PREFECT_HOME=str(folder / f"prefect-{host}"), PREFECT_API_URL=f"{url}/api",
        PREFECT_SERVER_ANALYTICS_ENABLED="false", **settings,
    )  # fmt: skip
    command = [str(BIN / "prefect"), "server", "start", "--host", host, "--port", str(port)]
    with running(command, log, env=env) as server:
        wait_until_answers(f"{url}/api/health", server, log, 500)
        yield f"{url}/api"


@pytest.fixture(scope="module")
def open_prefect(folder: Path) -> Iterator[str]:
    """Bound to every address of this machine, and it asks for no credentials."""
    yield from prefect_server(folder, "0.0.0.0")


@pytest.fixture(scope="module")
def locked_prefect(folder: Path) -> Iterator[str]:
    yield from prefect_server(folder, "127.0.0.1", PREFECT_SERVER_API_AUTH_STRING=PAIR)


def mlflow_server(folder: Path, name: str, *words: str, **settings: str) -> Iterator[str]:
    port, log, place = free_port(), folder / f"{name}.log", folder / name
    place.mkdir()
    command = [str(BIN / "mlflow"), "server", "--port", str(port), "--workers", "1", *words]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "files")]
    with running(command, log, env=clean_env(**settings), cwd=place) as server:
        wait_until_answers(f"http://127.0.0.1:{port}/health", server, log, 500)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def open_mlflow(folder: Path) -> Iterator[str]:
    yield from mlflow_server(folder, "open", "--host", "0.0.0.0")


@pytest.fixture(scope="module")
def locked_mlflow(folder: Path) -> Iterator[str]:
    if not importlib.util.find_spec("flask_wtf"):
        pytest.skip("mlflow[auth] is not installed")
    settings = folder / "basic_auth.ini"
    settings.write_text(BASIC_AUTH.format(folder=folder))
    secret = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
    yield from mlflow_server(folder, "locked", "--host", "127.0.0.1", "--app-name", "basic-auth", **secret)


@needs_address
@pytest.mark.timeout(900)
def test_servers_that_let_everybody_in_are_named_with_the_remedy(
    open_prefect: str, open_mlflow: str, folder: Path
) -> None:
    found = checks(folder, PREFECT_API_URL=open_prefect, MLFLOW_TRACKING_URI=open_mlflow)
    for server, lock in (("prefect", "PREFECT_SERVER_API_AUTH_STRING"), ("mlflow", "--app-name basic-auth")):
        assert named(found, server)["state"] == "ok"
        warned = named(found, f"{server} access")
        assert warned["state"] == "warning" and "no credentials" in warned["detail"], found
        assert "127.0.0.1" in warned["remedy"] and lock in warned["remedy"]


@pytest.mark.timeout(900)
def test_locked_servers_are_no_warning_and_refuse_who_has_no_key(
    locked_prefect: str, locked_mlflow: str, folder: Path
) -> None:
    places = {"PREFECT_API_URL": locked_prefect, "MLFLOW_TRACKING_URI": locked_mlflow}
    keys = {"PREFECT_API_AUTH_STRING": PAIR, "MLFLOW_TRACKING_USERNAME": "admin"}
    found = checks(folder, **places, **keys, MLFLOW_TRACKING_PASSWORD="open-sesame-1234")
    assert {named(found, server)["state"] for server in ("prefect", "mlflow")} == {"ok"}
    assert not [each for each in found if "access" in each["check"]]
    found = checks(folder, code=2, **places)
    assert "PREFECT_API_AUTH_STRING" in named(found, "prefect")["remedy"]
    assert "MLFLOW_TRACKING_PASSWORD" in named(found, "mlflow")["remedy"]
    wrong = {"PREFECT_API_KEY": "key", "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "wrong"}
    found = checks(folder, code=2, **places, **wrong)
    assert "unset PREFECT_API_KEY" in named(found, "prefect")["remedy"]
    assert named(found, "mlflow")["state"] == "missing"


@pytest.mark.timeout(900)
def test_what_the_deployments_need_is_missed_until_it_is_there(
    open_prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.services.automations import make_automations

    def missing() -> dict[str, str]:
        return {each.check: each.detail for each in orchestration.check_orchestration() if each.state == "warning"}

    def post(path: str, body: dict) -> dict:
        answer = asking.ask(f"{open_prefect}{path}", body=body)
        assert answer.status in (200, 201, 204), answer
        return answer.json()

    monkeypatch.setattr(orchestration, "has_gpu", lambda: True)
    with temporary_settings({PREFECT_API_URL: open_prefect}):
        assert set(missing()) == {"deployments", "work pool", "gpu limit", "automation"}
        for pool in orchestration.POOLS:
            post("/work_pools/", {"name": pool, "type": "process", "base_job_template": {}})
        assert "no worker of vgan-train is online" in missing()["work pool"]
        for pool in orchestration.POOLS:
            post(f"/work_pools/{pool}/workers/heartbeat", {"name": "somebody"})
        assert "work pool" not in missing()
        post("/v2/concurrency_limits/", {"name": "gpu", "limit": 1, "active": True})
        assert "gpu limit" not in missing()
        with get_client(sync_client=True) as client:
            make_automations(client)
        assert set(missing()) == {"deployments"}
        flow = post("/flows/", {"name": "train"})
        deployment = {"name": "on-demand", "flow_id": flow["id"], "entrypoint": "flows/train_flow.py:train"}
        secret = {"env": {"AWS_SECRET_ACCESS_KEY": "canary", "PREFECT_LOGGING_EXTRA_LOGGERS": "vgan"}}
        made = post("/deployments/", {**deployment, "work_pool_name": "vgan-train", "job_variables": secret})
        assert set(missing()) == {"secrets"}
        assert "AWS_SECRET_ACCESS_KEY" in missing()["secrets"] and "canary" not in str(missing())
        post("/deployments/", {**deployment, "work_pool_name": "vgan-train", "job_variables": {}})
        assert missing() == {}, made
        for each in asking.ask(f"{open_prefect}/automations/filter", body={}).json():
            with get_client(sync_client=True) as client:
                client.pause_automation(each["id"])
        assert "switched off" in missing()["automation"]
