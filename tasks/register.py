"""The registration stage."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks import registration
from tasks.dataset_summary import literal
from tasks.retries import REGISTER_POLICY
from tasks.tracking.links import run_links
from vgan.config import RegisterConfig
from vgan.errors import GateFailedError
from vgan.records import ModelVersion, Verdict
from vgan.storage import read_bytes
from vgan.workspace import Workspace

HEADINGS = {
    "promoted": "Promoted",
    "forced": "Promoted by force, against the gate",
    "registered": "Registered, not promoted",
    "refused": "Refused: not registered",
}


@task(name="register", **REGISTER_POLICY)
def register(root: str, run: str, config: RegisterConfig) -> ModelVersion:
    """Register the run's generator behind the gate; a repeated call finds the version."""
    workspace = Workspace.open(root, missing="refuse", sought=f"run {run!r}")
    try:
        version = registration.register(workspace, run, config)
    except GateFailedError:
        create_markdown_artifact(verdict_markdown(workspace, run, None), key="verdict")
        raise
    create_markdown_artifact(verdict_markdown(workspace, run, version), key="verdict")
    return version


def verdict_markdown(workspace: Workspace, run: str, version: ModelVersion | None) -> str:
    """What the gate said, check by check, and which version came of it; None when none did."""
    path = workspace.run(run).verdict
    outcome = version.outcome if version else "refused"
    lines = [f"## {HEADINGS[outcome]}", ""]
    if version:
        held = f"carries **@{version.alias}**" if version.champion else f"does not carry @{version.alias}"
        lines += [f"`{version.model_uri}` {held}. MLflow run `{version.mlflow_run_id}`.", ""]
    if path.exists():
        verdict = Verdict.from_json(read_bytes(path), str(path))
        lines += ["| check | passed | said |", "|---|---|---|"]
        lines += [f"| {c.name} | {'yes' if c.passed else '**no**'} | {literal(c.said)} |" for c in verdict.checks]
    elif version:  # registered from another workspace
        lines.append(literal(version.verdict))
    if version:
        lines += ["", *(f"* [{text}]({url})" for text, url in run_links(workspace, version).items())]
    return "\n".join(lines)
