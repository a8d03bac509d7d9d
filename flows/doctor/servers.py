"""The servers that the user named: whether they answer, to whom, in which version and at what time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version

from flows.doctor import asking
from flows.doctor.asking import Answer
from flows.doctor.finding import Finding
from vgan.addresses import basic_authorization, without_password

MOST_SKEW_SECONDS = 30.0
OPEN, REFUSED = 200, (401, 403)
MLFLOW_SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def prefect_url() -> str:
    """The API that flows report to, "" without one: of the environment or the active profile."""
    from prefect.settings import get_current_settings

    return (get_current_settings().api.url or "").rstrip("/")


def prefect_authorization() -> str:
    """As Prefect's own client does: the auth string comes before an API key."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().api
    if settings.auth_string is not None:
        return basic_authorization(settings.auth_string.get_secret_value())
    return f"Bearer {settings.key.get_secret_value()}" if settings.key is not None else ""


def check_prefect() -> Iterator[Finding]:
    """Prefect's server, or that there is none."""
    url, installed = prefect_url(), version("prefect")
    if not url:
        yield Finding("prefect", "ok", f"{installed}, embedded (PREFECT_API_URL is not set)")
        return
    health = asking.ask(f"{url}/health")
    if not health.status:
        yield _away("prefect", url, health, "PREFECT_API_URL")
        return
    told = asking.ask(f"{url}/admin/version", authorization=prefect_authorization())
    if not told.status:
        yield _away("prefect", url, told, "PREFECT_API_URL")
        return
    if told.status in REFUSED:
        yield Finding(
            "prefect", "missing", f"{without_password(url)} refuses this client ({told.status})", _prefect_remedy()
        )
    else:
        yield from _same_version("prefect", url, installed, told.json())
    yield from _clock("prefect", url, health)
    if asking.ask(f"{without_password(url)}/admin/version").status == OPEN:
        yield from _open("prefect", url, "start the server with PREFECT_SERVER_API_AUTH_STRING")


def _prefect_remedy() -> str:
    from prefect.settings import get_current_settings

    remedy = "Set PREFECT_API_AUTH_STRING to what the server has in PREFECT_SERVER_API_AUTH_STRING."
    settings = get_current_settings().api
    if settings.key is not None and settings.auth_string is None:
        return f"{remedy} A server of your own knows no keys: unset PREFECT_API_KEY."
    return remedy


def check_mlflow() -> Iterator[Finding]:
    """MLflow's server, or where its files are."""
    url, installed = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/"), version("mlflow")
    if not url.startswith("http"):
        where = without_password(url) if url else "embedded (MLFLOW_TRACKING_URI is not set)"
        yield Finding("mlflow", "ok", f"{installed}, {where}")
        return
    health = asking.ask(f"{url}/health")
    if not health.status:
        yield _away("mlflow", url, health, "MLFLOW_TRACKING_URI")
        return
    authorized = asking.ask(url + MLFLOW_SEARCH, authorization=_mlflow_authorization())
    if not authorized.status:
        yield _away("mlflow", url, authorized, "MLFLOW_TRACKING_URI")
        return
    if authorized.status in REFUSED:
        remedy = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        if authorized.status == 403 and b"host" in authorized.body.lower():
            remedy = "Name this host in the server's --allowed-hosts."
        yield Finding("mlflow", "missing", f"{without_password(url)} refuses this client ({authorized.status})", remedy)
    else:
        told = asking.ask(f"{url}/version", authorization=_mlflow_authorization())
        yield from _same_version("mlflow", url, installed, told.body.decode(errors="replace"))
    yield from _clock("mlflow", url, health)
    if asking.ask(without_password(url) + MLFLOW_SEARCH).status == OPEN:
        yield from _open("mlflow", url, "start the server with --app-name basic-auth")


def _mlflow_authorization() -> str:
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return f"Bearer {token}"
    return basic_authorization(f"{user}:{password}") if user or password else ""


def _away(check: str, url: str, answer: Answer, variable: str) -> Finding:
    remedy = f"Start the server that {variable} names, or unset it."
    return Finding(check, "missing", f"no server at {without_password(url)}: {answer.error}", remedy)


def _same_version(check: str, url: str, installed: str, there: object) -> Iterator[Finding]:
    if not isinstance(there, str) or not there[:1].isdigit():
        yield Finding(check, "ok", f"{installed}, a server answers at {without_password(url)}")
    elif there.strip() == installed:
        yield Finding(check, "ok", f"{installed}, here and at {without_password(url)}")
    else:
        remedy = f"Install the same on both: pip install '{check}=={there.strip()[:20]}', or upgrade the server."
        yield Finding(check, "warning", f"{installed} here, {there.strip()[:20]} at {without_password(url)}", remedy)


def _clock(check: str, url: str, answer: Answer) -> Iterator[Finding]:
    if answer.skew is not None and abs(answer.skew) > MOST_SKEW_SECONDS:
        side = "ahead of" if answer.skew > 0 else "behind"
        detail = f"the clock of {without_password(url)} is {abs(answer.skew):.0f} s {side} this machine's"
        remedy = "Let both follow a time server (NTP): schedules, heartbeats and leases compare their times."
        yield Finding(f"{check} clock", "warning", detail, remedy)


def _open(check: str, url: str, lock: str) -> Iterator[Finding]:
    """A server that asks nobody who they are is no danger while only this machine reaches it."""
    reached = asking.reached_from_outside(url)
    if reached:
        detail = f"everybody who reaches {reached} may use it: it asks for no credentials"
        remedy = f"Bind it to 127.0.0.1 (--host), or {lock}; docs/security.md says how."
        yield Finding(f"{check} access", "warning", detail, remedy)
