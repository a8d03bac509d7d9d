"""This machine: workspace and disk, the decoder, ffmpeg, torch, and the versions of what is installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from flows.doctor.finding import Finding
from vgan.errors import VganError
from vgan.workspace import Workspace

LOW_DISK_BYTES = 2 << 30
SOUND_FFMPEG = (8, 1, 2)  # the first release without CVE-2026-8461, a heap write by a crafted MagicYUV video


def check_workspace(root: Path | None) -> Finding:
    """Whether the workspace can be written, and how much space is left."""
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
        remedy = "Shards, checkpoints and models need space: free some; `vgan prune --keep 3` shows what may go."
        return Finding("workspace", "warning", detail, remedy)
    return Finding("workspace", "ok", detail)


def check_decoder() -> Finding:
    """PyAV's own FFmpeg, in a worker that really starts."""
    from vgan.data.decoding.worker_process import Worker

    worker = Worker()
    try:
        worker.expect_ready()
    except VganError as error:
        return Finding("decoder", "missing", error.message, error.hint)
    worker.stop()
    worker.end()
    from vgan.media.stream import bundled_ffmpeg

    bundled = bundled_ffmpeg()
    detail = f"PyAV {version('av')}, with an FFmpeg of its own, {bundled}"
    if _older_than_sound(bundled):
        return Finding("decoder", "warning", f"{detail}: {_OLD}", "Install a newer one: pip install --upgrade av")
    return Finding("decoder", "ok", detail)


def check_ffmpeg() -> Finding:
    """The ffmpeg program, which encodes what is generated and reads what it says of its making."""
    from vgan.media.ffmpeg import find_ffmpeg

    try:
        found = find_ffmpeg()
    except VganError as error:
        return Finding("ffmpeg", "missing", error.message, error.hint)
    detail = f"{found.version} at {found.path} ({found.source})"
    if _older_than_sound(found.version):
        remedy = (
            "Install 8.1.2 or later and name it in VGAN_FFMPEG. Distributions mend older numbers; whether yours has, "
            "its own security tracker says. vgan itself decodes videos with PyAV's FFmpeg, and only codecs on its list."
        )
        return Finding("ffmpeg", "warning", f"{detail}: {_OLD}", remedy)
    return Finding("ffmpeg", "ok", detail)


_OLD = "older than 8.1.2, which mends CVE-2026-8461 (MagicYUV)"


def _older_than_sound(named: str) -> bool:
    """Whether a version is below SOUND_FFMPEG; a build from git without a number counts as new."""
    match = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", named)
    return bool(match) and tuple(int(part or 0) for part in match.groups()) < SOUND_FFMPEG


def check_torch() -> Finding:
    """What would train."""
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


def check_versions() -> Iterator[Finding]:
    """Every package that vgan requires, against the versions that it was made for; pip does not hold later ones off."""
    from packaging.requirements import Requirement

    wrong = False
    for requirement in map(Requirement, requires("vgan") or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "not installed"
        if installed == "not installed" or not requirement.specifier.contains(installed, prereleases=True):
            wrong = True
            said = f"{requirement.name} is {installed}, and vgan needs {requirement.specifier}"
            why = ": another one lets Prefect's server fail to start" if requirement.name == "fastapi" else ""
            yield Finding("versions", "warning", f"{said}{why}", f"pip install '{requirement}'")
    if not wrong:
        yield Finding("versions", "ok", "all required packages are within their bounds")
