"""The README's way to run it for real: a server, the deployments, a worker, a triggered run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from processes import BIN, ROOT, ask_server, clean_env, free_port, running, vgan, wait_until_answers

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
POOLS = ("vgan", "vgan-train")
SMALL = {"frames": 8, "height": 32, "width": 32, "labels": "folder"}


class Deployed:
    """A Prefect server with all deployments of prefect.yaml and a worker for each of their pools."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.api = f"http://127.0.0.1:{port}/api"
        self.env = clean_env(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_API_URL=self.api,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_WORKER_QUERY_SECONDS="1",
            PREFECT_WORKER_PREFETCH_SECONDS="1",
            PWD=str(ROOT),
        )

    def prefect(self, *arguments: str, code: int = 0) -> str:
        command = [str(BIN / "prefect"), "--no-prompt", *arguments]
        done = subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def get(self, path: str) -> Any:
        return ask_server(self.api + path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return ask_server(self.api + path, body)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        ask_server(self.api + path, body, "PATCH")

    def triggered(self, deployment_id: str, seconds: float = 120) -> dict[str, Any]:
        """The run of a deployment that an event started; waits until there is one."""
        asked = {"flow_runs": {"deployment_id": {"any_": [deployment_id]}}}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for run in self.post("/flow_runs/filter", asked):
                if (run["created_by"] or {}).get("type") == "AUTOMATION":
                    return run
            time.sleep(1)
        raise AssertionError("no event started the deployment")

    def run(self, deployment: str, parameters: dict[str, Any], seconds: float = 240) -> dict[str, Any]:
        """Trigger a deployment and wait for the end of the run; returns the flow run."""
        found = self.get(f"/deployments/name/{deployment}")
        started = self.post(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return self.ended(started["id"], seconds)

    def ended(self, flow_run: str, seconds: float = 240) -> dict[str, Any]:
        """Wait for the end of a flow run; returns it."""
        end = time.monotonic() + seconds
        while (run := self.get(f"/flow_runs/{flow_run}"))["state_type"] not in ENDED:
            assert time.monotonic() < end, f"{run['name']} is still {run['state']}"
            time.sleep(1)
        return run


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder, port = tmp_path_factory.mktemp("deployed"), free_port()
    it = Deployed(folder, port)
    server = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(server, folder / "server.log", env=it.env, cwd=folder) as process:
        wait_until_answers(f"{it.api}/health", process, folder / "server.log")
        with ExitStack() as workers:
            for pool in POOLS:
                it.prefect("work-pool", "create", pool, "--type", "process")
            it.prefect("deploy", "--all")
            for pool in POOLS:
                worker = [str(BIN / "prefect"), "worker", "start", "--pool", pool]
                workers.enter_context(running(worker, folder / f"{pool}.log", env=it.env, cwd=folder))
            yield it


def test_every_flow_is_deployed_and_two_have_a_schedule(deployed: Deployed) -> None:
    found = deployed.post("/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in deployed.post("/flows/filter", {})}
    crons = {flows[d["flow_id"]]: [s["schedule"]["cron"] for s in d["schedules"]] for d in found}
    assert crons == {
        "ingest": ["0 * * * *"],
        "train": [],
        "evaluate": [],
        "retrain": ["0 2 * * *"],
        "generate": [],
    }


def test_what_trains_has_a_pool_of_its_own_and_every_deployment_queues_its_runs(deployed: Deployed) -> None:
    pools: dict[str, set[str]] = {pool: set() for pool in POOLS}
    for found in deployed.post("/deployments/filter", {}):
        pools[found["work_pool_name"]].add(found["entrypoint"].rpartition(":")[2])
        assert found["global_concurrency_limit"]["limit"] == 1
        assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert found["description"]
        assert "vgan" in found["tags"]
    assert pools == {"vgan": {"ingest", "evaluate", "generate"}, "vgan-train": {"train", "retrain"}}


def without_ids(plain: Any) -> Any:
    """What a server stores, without what it gives each object for itself."""
    if isinstance(plain, dict):
        return {key: without_ids(value) for key, value in plain.items() if key not in ("id", "created", "updated")}
    return [without_ids(value) for value in plain] if isinstance(plain, list) else plain


def test_deploying_again_changes_nothing(deployed: Deployed) -> None:
    def state() -> tuple[list[Any], list[Any]]:
        found = sorted(deployed.post("/deployments/filter", {}), key=lambda d: d["id"])
        kept = ("id", "name", "parameters", "schedules", "tags", "concurrency_options", "parameter_openapi_schema")
        triggers = [a for a in deployed.post("/automations/filter", {}) if a["actions"][0]["type"] == "run-deployment"]
        return [{key: without_ids(d[key]) if key != "id" else d[key] for key in kept} for d in found], triggers

    deployments, (trigger,) = state()
    deployed.prefect("deploy", "--all")
    again, (trigger_again,) = state()
    assert again == deployments
    assert without_ids(trigger_again) == without_ids(trigger)


def test_the_form_describes_every_parameter_and_refuses_unknown_ones(deployed: Deployed) -> None:
    for deployment in deployed.post("/deployments/filter", {}):
        schema = deployment["parameter_openapi_schema"]
        for name, definition in schema["properties"].items():
            assert definition.get("description"), name
            assert definition["title"][0].isupper(), f"{name} has no title for people"
        for kind, definition in schema.get("definitions", {}).items():
            assert definition["additionalProperties"] is False, kind
            fields = definition["properties"].values()
            assert all(field.get("description") for field in fields), kind
            assert [field["position"] for field in fields] == list(range(len(fields))), kind


def test_a_worker_runs_the_whole_chain_and_then_generates(
    deployed: Deployed, shapes_videos: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    parameters = {
        "videos": str(shapes_videos),
        "name": "shapes",
        "ingest_config": SMALL,
        "train_config": {"budget": "2kclips", "threads": 1},
        "evaluate_config": {"clips": 16, "bootstrap": 20},
        "workspace": str(workspace),
    }
    run = deployed.run("retrain/nightly", parameters)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    artifacts = deployed.post("/artifacts/latest/filter", {})
    assert {"rejected-videos", "dataset-summary", "metrics", "report", "verdict", "train-progress"} <= {
        a["key"] for a in artifacts
    }

    clips = tmp_path / "clips"
    made = deployed.run(
        "generate/on-demand",
        {"model": "models:/shapes@champion", "out": str(clips), "config": {"num": 2}, "workspace": str(workspace)},
    )
    assert made["state_type"] == "COMPLETED", made["state"]["message"]
    assert len(list(clips.glob("*.mp4"))) == 2

    again = vgan(
        "run", "--videos", shapes_videos, "--name", "shapes", "--workspace", workspace, "--frames", 8, "--height", 32,
        "--width", 32, "--labels", "folder", "--budget", "2kclips", "--threads", 1, "--evaluate-clips", 16,
        "--evaluate-bootstrap", 20, env=deployed.env,
    )  # fmt: skip
    assert set(again["stages"].values()) == {"unchanged"}


def events_of(deployed: Deployed, name: str, least: int, event: str = "vgan.dataset.updated") -> list[dict[str, Any]]:
    """The server's events of a dataset, once it has at least so many: it writes them a moment later."""
    asked = {"filter": {"event": {"name": [event]}, "resource": {"id": [f"vgan.dataset.{name}"]}}}
    end = time.monotonic() + 60
    while len(found := deployed.post("/events/filter", asked)["events"]) < least and time.monotonic() < end:
        time.sleep(1)
    return found


def test_a_changed_dataset_emits_one_event_and_shows_what_it_consists_of(
    deployed: Deployed, shapes_videos: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    late = sorted(videos.rglob("*.mp4"))[-4:]
    for path in late:
        path.rename(tmp_path / path.name)
    (videos / "<script>.mp4").write_bytes(b"no video")
    config = {**SMALL, "labels": "none", "videos_per_batch": 6}
    parameters = {"videos": str(videos), "name": "told", "config": config, "workspace": str(tmp_path / "workspace")}

    def ingest() -> dict[str, Any]:
        run = deployed.run("ingest/hourly", parameters)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        return run

    run = ingest()
    (first,) = events_of(deployed, "told", 1)
    assert first["payload"]["number"] == 1
    assert first["payload"]["new_clips"] > 0
    assert f"prefect.flow-run.{run['id']}" in {resource["prefect.resource.id"] for resource in first["related"]}
    tasks = deployed.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert sum(task["name"].startswith("ingest-batch-") for task in tasks) == 4, "20 videos and a file, 6 in a batch"

    found = deployed.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    artifacts = [artifact for artifact in found if artifact["key"]]  # Prefect's own, of results, have none
    shown = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert {"rejected-videos", "dataset-summary", "ingest-progress", "plan-progress"} == set(shown)
    assert len(artifacts) == 4, "one progress for all batches"
    assert shown["ingest-progress"] == 100.0
    (rejected,) = json.loads(shown["rejected-videos"])
    assert rejected["video"] == "<script>.mp4"
    assert "█" in shown["dataset-summary"]
    assert "<script" not in shown["dataset-summary"].replace("\\<", "")

    ingest()
    for path in late:
        (tmp_path / path.name).rename(videos / path.name)
    ingest()
    told = events_of(deployed, "told", 2)
    assert [event["payload"]["number"] for event in told] == [2, 1], "newest first, and none of the unchanged run"
    assert len({event["payload"]["digest"] for event in told}) == 2


def test_new_clips_start_a_retrain_which_is_not_started_again_for_them(
    deployed: Deployed, shapes_videos: Path, tmp_path: Path
) -> None:
    workspace, tiny = tmp_path / "workspace", {"budget": "1kclips", "threads": 1}
    nightly = deployed.get("/deployments/name/retrain/nightly")
    defaults = {**nightly["parameters"], "train_config": tiny, "evaluate_config": {"clips": 16, "bootstrap": 20}}
    deployed.patch(f"/deployments/{nightly['id']}", {"parameters": defaults})
    asked = {
        "videos": str(shapes_videos), "name": "grown", "retrain_after": 10, "config": SMALL, "workspace": str(workspace)
    }  # fmt: skip
    assert deployed.run("ingest/hourly", asked)["state_type"] == "COMPLETED"
    (grown,) = events_of(deployed, "grown", 1, "vgan.dataset.grown")
    assert grown["payload"]["new_clips"] >= 10
    retrain = deployed.ended(deployed.triggered(nightly["id"])["id"])
    assert retrain["state_type"] == "COMPLETED", retrain["state"]["message"]
    assert retrain["name"] == "retrain grown"
    assert retrain["parameters"] == {
        **defaults, "videos": str(shapes_videos), "name": "grown", "ingest_config": SMALL, "workspace": str(workspace)
    }  # fmt: skip

    # Neither an ingest that finds nothing new nor a nightly run asks for the same clips again.
    assert deployed.run("ingest/hourly", asked)["state_type"] == "COMPLETED"
    again = deployed.run("retrain/nightly", retrain["parameters"])
    assert again["state"]["type"] == "COMPLETED"
    assert again["state"]["message"].startswith("Nothing to do: version 1 of `grown` (")
    assert "registered as version 1 of `grown`" in again["state"]["message"]
    assert len(events_of(deployed, "grown", 1, "vgan.dataset.grown")) == 1


def test_a_run_that_fails_says_why_on_the_server(deployed: Deployed, tmp_path: Path) -> None:
    run = deployed.run("train/on-demand", {"name": "nobody", "workspace": str(tmp_path)})
    assert run["state_type"] == "FAILED"
    assert "nobody" in run["state"]["message"]
