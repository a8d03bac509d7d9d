"""What deploy/ promises: nothing open, nothing unnamed, and every command and setting exists in the code beside it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.app import app
from flows.services.servers import HEARTBEAT_SECONDS, POOL, TRAINING_POOL

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
TEMPLATE = json.loads((DEPLOY / "kubernetes" / "job-template.json").read_text())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "vgan.yaml").read_text()))
SECRETS = {
    "VGAN_POSTGRES_PASSWORD", "VGAN_REDIS_PASSWORD", "VGAN_PREFECT_PASSWORD", "VGAN_MLFLOW_PASSWORD",
    "VGAN_MLFLOW_SECRET_KEY",
}  # fmt: skip
OPTIONAL = {"VGAN_PREFECT_PORT", "VGAN_MLFLOW_PORT", "VGAN_TORCH_INDEX"}
WORKERS = {"worker": POOL, "training-worker": TRAINING_POOL}
OURS = {"database", "prefect", "mlflow", "prepare", *WORKERS}
SERVICE_KEYS = {
    "image", "build", "user", "cap_drop", "security_opt", "environment", "command", "configs", "volumes", "ports",
    "depends_on", "healthcheck", "shm_size", "stop_grace_period", "restart",
}  # fmt: skip


def strings(value: Any) -> list[str]:
    """Every string anywhere in it."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


PODS = {
    "flow run": pod(TEMPLATE["job_configuration"]["job_manifest"]),
    "prepare": pod(next(one for one in MANIFESTS if one["kind"] == "Job")),
}


def test_the_services_are_these() -> None:
    assert set(SERVICES) == OURS | {"postgres", "redis"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_an_image_with_a_tag_and_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS, "a setting that this test does not know: privileged, or mistyped?"
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"]) and not service["image"].endswith(":latest")
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    if "build" in service:
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert f"AS {service['build']['target']}\n" in DOCKERFILE
    else:
        assert service["user"] == name, "the image's own user; else it begins as root"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    assert ("ports" in SERVICES[name]) == (name in ("prefect", "mlflow"))


def test_no_secret_has_a_default_and_one_that_is_unset_is_an_error() -> None:
    used = re.findall(r"\$\{(\w+)(:\?)?", TEXT)
    assert {name for name, required in used if required} == SECRETS | {"VGAN_VIDEOS"}
    assert {name for name, required in used if not required} == OPTIONAL
    named = re.compile(r"PASSWORD|SECRET|AUTH_STRING|REDISCLI_AUTH|DOCKET_URL")
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert not named.search(key) or "${VGAN_" in value, key


def test_the_example_of_the_environment_names_every_variable_and_no_secret() -> None:
    # What may stay unset is there as a comment.
    lines = [line.removeprefix("# ") for line in (DEPLOY / "env.example").read_text().splitlines() if "VGAN_" in line]
    given = dict(line.split("=", 1) for line in lines if line.startswith("VGAN_") and "=" in line)
    assert set(given) == {name for name, _ in re.findall(r"\$\{(\w+)(:)?", TEXT)}
    assert {name for name, value in given.items() if not value} == SECRETS | {"VGAN_VIDEOS", "VGAN_TORCH_INDEX"}
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().split()


def test_every_volume_and_config_is_declared_and_used() -> None:
    mounted = [v for s in SERVICES.values() for v in s.get("volumes", []) if isinstance(v, str)]
    assert {volume.split(":")[0] for volume in mounted} == set(COMPOSE["volumes"])
    assert {one["source"] for s in SERVICES.values() for one in s.get("configs", [])} == set(COMPOSE["configs"])
    for config in COMPOSE["configs"].values():
        assert "file" not in config or (DEPLOY / config["file"]).is_file()


def test_every_service_waits_for_what_it_needs() -> None:
    for service in SERVICES.values():
        for other, wanted in service.get("depends_on", {}).items():
            done = wanted["condition"] == "service_completed_successfully"
            assert done == (SERVICES[other].get("restart") == "no"), other
            assert done or "healthcheck" in SERVICES[other], other


def parsed_by_prefect(words: list[str]) -> dict[str, Any]:
    """What Prefect's own command line makes of the words."""
    from prefect.cli._app import _app

    _, bound, _ = _app.parse_args(words, exit_on_error=False, print_error=False)
    return dict(bound.arguments)


def test_workers_take_the_pools_that_the_deployments_name() -> None:
    deployed = {one["work_pool"]["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert deployed == set(WORKERS.values())
    for name, pool in WORKERS.items():
        program, no_prompt, *words = SERVICES[name]["command"]
        assert (program, no_prompt) == ("prefect", "--no-prompt")
        given = parsed_by_prefect(words)
        assert given["work_pool_name"] == pool and given["worker_type"] == "process" and given["with_healthcheck"]


def test_the_server_takes_its_options() -> None:
    program, *words = SERVICES["prefect"]["command"]
    assert program == "prefect" and parsed_by_prefect(words) == {"host": "0.0.0.0", "port": 4200}


@pytest.mark.e2e  # for the time that importing MLflow's command line takes
def test_mlflow_takes_its_options() -> None:
    from mlflow.cli import server

    program, command, *words = SERVICES["mlflow"]["command"]
    assert (program, command) == ("mlflow", "server")
    given = server.make_context("server", words, resilient_parsing=False).params
    assert (given["host"], given["port"], given["app_name"]) == ("0.0.0.0", 5000, "basic-auth")
    assert given["allowed_hosts"].split(",")[0] == "mlflow:*", "as the workers call it"


@pytest.mark.parametrize("command", [SERVICES["database"]["command"], SERVICES["prepare"]["command"],
                                     PODS["prepare"]["containers"][0]["args"]])  # fmt: skip
def test_our_own_commands_exist(command: list[str]) -> None:
    assert command[0] == "vgan" and CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_of_prefect_is_one_that_it_knows(name: str) -> None:
    from prefect.settings import Settings
    from prefect.settings.models.root import Settings as Root
    from prefect_redis.client import RedisMessagingSettings

    def known(model: Any, prefix: str) -> set[str]:
        names: set[str] = set()
        for field_name, field in model.model_fields.items():
            kind = field.annotation
            if hasattr(kind, "model_fields"):
                names |= known(kind, kind.model_config.get("env_prefix", ""))
            alias = field.validation_alias
            names |= {str(one).lower() for one in getattr(alias, "choices", []) if isinstance(one, str)}
            names.add(f"{prefix}{field_name}".lower())
        return names

    all_known = known(Root, "PREFECT_") | known(RedisMessagingSettings, "PREFECT_REDIS_MESSAGING_")
    given = {key.lower() for key in SERVICES[name]["environment"] if key.startswith("PREFECT_")}
    assert Settings is Root and given <= all_known, given - all_known


def test_the_modules_that_prefect_is_told_to_use_are_there_and_installed_in_the_image() -> None:
    for value in SERVICES["prefect"]["environment"].values():
        if value.startswith("prefect_redis."):
            assert importlib.util.find_spec(value) is not None, value
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for asked in re.findall(r"--editable '\.\[([\w,]+)\]'", DOCKERFILE):
        assert {"redis", "postgres", "auth"} <= set(asked.split(",")) <= set(extras)


def test_what_speaks_to_the_servers_has_their_addresses_and_passwords() -> None:
    for name in ("prepare", *WORKERS):
        env = SERVICES[name]["environment"]
        assert (
            env["PREFECT_API_URL"] == "http://prefect:4200/api" and env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
        )
        assert {"PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"} <= set(env)
        assert "PGPASSWORD" not in env, "flows have nothing to do with the database"


def test_the_image_runs_as_somebody_without_rights_and_holds_the_tested_versions() -> None:
    for stage in DOCKERFILE.split("\nFROM ")[1:]:
        if re.match(r"\S+ AS (cpu|cuda)\n", stage):
            assert "USER 10001:10001" in stage and 'ENTRYPOINT ["tini", "--"]' in stage
    installs = re.findall(r"pip install (?:.|\\\n)*?(?=\s+&&|\n\n)", DOCKERFILE)
    assert len(installs) == 3 and all("--constraint constraints.txt" in one for one in installs)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
        assert all((ROOT / one).exists() and f"!{one}" in kept for one in source.split()), source
    assert f"python:{sys.version_info.major}." in DOCKERFILE


def test_every_flow_run_says_as_often_as_the_automations_expect_that_it_lives() -> None:
    """In the image: what a deployment sets takes the place of all that a pool's template sets."""
    assert f"    PREFECT_FLOWS_HEARTBEAT_FREQUENCY={HEARTBEAT_SECONDS}\n" in DOCKERFILE
    set_elsewhere = [*strings(TEMPLATE["variables"]["properties"]["env"]["default"]), TEXT]
    assert not any("HEARTBEAT" in one for one in set_elsewhere)


def test_the_template_fills_every_blank_from_a_variable_that_it_declares() -> None:
    blanks = {name for text in strings(TEMPLATE["job_configuration"]) for name in re.findall(r"{{ (\w+) }}", text)}
    assert blanks == set(TEMPLATE["variables"]["properties"])


def test_a_flow_run_has_its_gpu_its_workspace_and_time_for_a_checkpoint() -> None:
    properties, run = TEMPLATE["variables"]["properties"], PODS["flow run"]
    container = run["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}" and properties["gpus"]["default"] == 1
    assert (
        properties["grace_seconds"]["default"] >= 90 and run["terminationGracePeriodSeconds"] == "{{ grace_seconds }}"
    )
    claims = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "PersistentVolumeClaim"}
    assert properties["workspace_claim"]["default"] in claims
    assert "/workspace" in {one["mountPath"] for one in container["volumeMounts"]}


def test_a_flow_run_is_neither_evicted_nor_started_again_by_kubernetes() -> None:
    job = TEMPLATE["job_configuration"]["job_manifest"]["spec"]
    assert job["backoffLimit"] == 0 and PODS["flow run"]["restartPolicy"] == "Never"
    made = job["template"]["metadata"]
    assert made["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    budget = next(one for one in MANIFESTS if one["kind"] == "PodDisruptionBudget")["spec"]
    # Of pods without a Deployment Kubernetes takes this one only, and no percentage.
    assert set(budget) == {"minAvailable", "selector"} and isinstance(budget["minAvailable"], int)
    assert budget["selector"]["matchLabels"].items() <= made["labels"].items()


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_rights_and_mount_what_they_declare(name: str) -> None:
    found = PODS[name]
    assert found["securityContext"]["runAsNonRoot"] and found["securityContext"]["runAsUser"] == 10001
    assert found["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found)
    container = found["containers"][0]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in found["volumes"]}
    assert container["envFrom"][0]["secretRef"]["name"] in ("vgan", "{{ secret }}")
    assert not any("hostPath" in volume for volume in found["volumes"])


def test_everything_is_in_one_namespace() -> None:
    assert {one["metadata"].get("namespace", one["metadata"]["name"]) for one in MANIFESTS} == {"vgan"}
    assert TEMPLATE["variables"]["properties"]["namespace"]["default"] == "vgan"
