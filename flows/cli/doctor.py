"""`vgan doctor`: is everything here that a run needs, and if not, what to do."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from vgan.errors import VganError
from vgan.workspace import Workspace

LOW_DISK_BYTES = 2 << 30
REACH_SECONDS = 3.0

app = typer.Typer()


@dataclass(frozen=True)
class Finding:
    """What one check found; a failure carries the remedy."""

    check: str
    state: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""


@app.command("doctor")
@guarded
def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check the decoder, ffmpeg, torch, Prefect, MLflow and disk; exit 2 with the remedy when one is missing."""
    findings = [check(workspace) for check in CHECKS]
    missing = any(finding.state == "missing" for finding in findings)
    if as_json:
        console.print_json({"ok": not missing, "checks": [vars(finding) for finding in findings]})
    else:
        rows = [(f.check, f.state, f.detail, f.remedy) for f in findings]
        console.print_table("vgan doctor", rows, ("check", "state", "found", "remedy"))
    if missing:
        raise typer.Exit(2)


def _workspace(root: Path | None) -> Finding:
    try:
        opened = Workspace.open(root, missing="accept")
    except VganError as error:
        return Finding("workspace", "missing", error.message, error.hint)
    there = next(folder for folder in (opened.root, *opened.root.parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Finding("workspace", "missing", f"{opened.root} cannot be made", "Name another one with --workspace.")
    free = shutil.disk_usage(there).free
    state = "" if there == opened.root else " (not there yet: ingest makes it)"
    detail = f"{opened.root}{state}, {free / 2**30:.1f} GiB free"
    if free < LOW_DISK_BYTES:
        return Finding("workspace", "warning", detail, "Free some space: shards, checkpoints and models need it.")
    return Finding("workspace", "ok", detail)


def _ffmpeg(_: Path | None) -> Finding:
    from vgan.media.ffmpeg import find_ffmpeg

    try:
        found = find_ffmpeg()
    except VganError as error:
        return Finding("ffmpeg", "missing", error.message, error.hint)
    return Finding("ffmpeg", "ok", f"{found.version} at {found.path} ({found.source})")


def _decoder(_: Path | None) -> Finding:
    """PyAV's own FFmpeg, in a worker that really starts."""
    from vgan.data.decoding.worker_process import Worker

    worker = Worker()
    try:
        worker.expect_ready()
    except VganError as error:
        return Finding("decoder", "missing", error.message, error.hint)
    worker.stop()
    worker.end()
    return Finding("decoder", "ok", f"PyAV {version('av')}, with an FFmpeg of its own")


def _torch(_: Path | None) -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", "missing", str(error), "Install it: pip install torch")
    device = "CPU"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        device = "Apple GPU (mps)"
    return Finding("torch", "ok", f"{torch.__version__}, trains on {device}")


def _prefect(_: Path | None) -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding("prefect", "ok", f"{version('prefect')}, embedded (PREFECT_API_URL is not set)")
    return _reach("prefect", version("prefect"), f"{url.rstrip('/')}/health", "PREFECT_API_URL")


def _mlflow(root: Path | None) -> Finding:
    url = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not url.startswith("http"):
        detail = f"{version('mlflow')}, {url or 'embedded (MLFLOW_TRACKING_URI is not set)'}"
        return Finding("mlflow", "ok", detail)
    return _reach("mlflow", version("mlflow"), f"{url.rstrip('/')}/health", "MLFLOW_TRACKING_URI")


def _reach(check: str, installed: str, url: str, variable: str) -> Finding:
    """Ask a server that the user named for its health."""
    shown = url.rpartition("@")[2]
    try:
        with urllib.request.urlopen(url, timeout=REACH_SECONDS):  # noqa: S310  (the user's own setting)
            return Finding(check, "ok", f"{installed}, server answers at {shown}")
    except urllib.error.HTTPError as error:
        return Finding(check, "ok", f"{installed}, server at {shown} answers with {error.code}")
    except (OSError, ValueError) as error:
        return Finding(
            check, "missing", f"no server at {shown}: {error}", f"Start the server that {variable} names, or unset it."
        )


CHECKS: tuple[Callable[[Path | None], Finding], ...] = (_workspace, _decoder, _ffmpeg, _torch, _prefect, _mlflow)
