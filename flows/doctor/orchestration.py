"""What the Prefect server needs to run the deployments: pools with workers, the GPU's limit, the automation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flows.doctor import asking, servers
from flows.doctor.finding import Finding
from flows.services.automations import HEARTBEAT
from flows.services.servers import POOL, TRAINING_POOL
from tasks.slots import GPU_SLOT

POOLS = (POOL, TRAINING_POOL)
SECRET_NAMES = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|API_KEY|AUTH_STRING|_KEY$)")


def check_orchestration() -> Iterator[Finding]:
    """Ask the server for its setup; nothing where there is none, or where it does not answer this client."""
    api = servers.prefect_url()
    if not api or asking.ask(f"{api}/admin/version", authorization=servers.prefect_authorization()).status != 200:
        return
    found = [*_deployments(api), *_pools(api), *_gpu_limit(api), *_automation(api)]
    yield from found or [Finding("orchestration", "ok", "deployments, pools, workers and automations are there")]


def _post(api: str, path: str) -> list[dict[str, Any]]:
    """What a filter without conditions finds."""
    told = asking.ask(f"{api}{path}", authorization=servers.prefect_authorization(), body={}).json()
    return told if isinstance(told, list) else []


def _deployments(api: str) -> Iterator[Finding]:
    ours = [each for each in _post(api, "/deployments/filter") if "flows/" in (each.get("entrypoint") or "")]
    if not ours:
        yield Finding(
            "deployments", "warning", "the server has none of vgan's", "Run `vgan up` or `prefect deploy --all`."
        )
    for each in ours:
        environment = (each.get("job_variables") or {}).get("env") or {}
        if secret := sorted(name for name in environment if SECRET_NAMES.search(name)):
            detail = f"{each['name']} carries {', '.join(secret)}, which everybody sees who may open the UI"
            remedy = "Take it out of prefect.yaml and give it to the worker's environment; then change the secret."
            yield Finding("secrets", "warning", detail, remedy)


def _pools(api: str) -> Iterator[Finding]:
    pools = {pool["name"]: pool for pool in _post(api, "/work_pools/filter")}
    used = {each.get("work_pool_name") for each in _post(api, "/deployments/filter")}
    for name in sorted({*POOLS, *(name for name in used if name)}):
        if name not in pools:
            remedy = f"Run `vgan up`, or `prefect work-pool create {name} --type process`."
            yield Finding("work pool", "warning", f"there is no work pool {name}", remedy)
        elif pools[name].get("is_paused"):
            yield Finding("work pool", "warning", f"{name} is paused", f"prefect work-pool resume {name}")
        elif pools[name].get("status") == "NOT_READY":
            remedy = f"Run `vgan up`, or `prefect worker start --pool {name}` where the work is to be done."
            yield Finding("work pool", "warning", f"no worker of {name} is online: its runs wait", remedy)


def _gpu_limit(api: str) -> Iterator[Finding]:
    if not has_gpu():
        return
    answer = asking.ask(f"{api}/v2/concurrency_limits/{GPU_SLOT}", authorization=servers.prefect_authorization())
    limit = answer.json() if answer.status == 200 else None
    if not isinstance(limit, dict) or not limit.get("active"):
        detail = f"there is a GPU, and no limit {GPU_SLOT!r}: two trainings would share it"
        remedy = f"Run `vgan up`, or `prefect gcl create {GPU_SLOT} --limit 1`."
        yield Finding("gpu limit", "warning", detail, remedy)


def has_gpu() -> bool:
    """Whether torch can use one here."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _automation(api: str) -> Iterator[Finding]:
    """The one that crashes runs whose process died; without it they are Running for ever."""
    watching = [each for each in _post(api, "/automations/filter") if HEARTBEAT in str(each.get("trigger"))]
    if not watching:
        detail = "no automation ends runs whose process or machine has died: they would stay Running"
        yield Finding("automation", "warning", detail, "Run `vgan up`, which makes it.")
    elif not any(each.get("enabled") for each in watching):
        detail = f"the automation {watching[0].get('name')!r} is switched off"
        yield Finding("automation", "warning", detail, "Switch it on in the UI under Automations.")
