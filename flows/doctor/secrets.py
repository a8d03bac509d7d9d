"""Secrets that lie where others see them: passwords in addresses, keys that others may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from flows.doctor.finding import Finding
from vgan.errors import VganError
from vgan.workspace import Workspace

OTHERS = stat.S_IRWXG | stat.S_IRWXO
KEY_MARK = b"PRIVATE KEY-----"
KEY_FILES = ("*.pem", "*.key", "*/*.pem", "*/*.key")
MOST_KEY_BYTES = 1 << 20
INSTEAD = {
    "MLFLOW_TRACKING_URI": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "PREFECT_API_URL": "PREFECT_API_AUTH_STRING",
    "VGAN_DATASETS": "the bucket's own variables, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}


def check_secrets(root: Path | None) -> Iterator[Finding]:
    """Look at the environment and at key files; what they hold is never shown."""
    found = [*_in_addresses(), *_readable_keys(root)]
    yield from found or [Finding("secrets", "ok", "none in addresses, no key that others can read")]


def _in_addresses() -> Iterator[Finding]:
    for variable, better in INSTEAD.items():
        try:
            password = urlsplit(os.environ.get(variable, "")).password
        except ValueError:
            continue
        if password:
            detail = f"{variable} holds a password, and addresses are shown and logged by many programs"
            yield Finding("secrets", "warning", detail, f"Take it out and set {better}.")


def _readable_keys(root: Path | None) -> Iterator[Finding]:
    for path in _key_files(root):
        try:
            mode = path.stat().st_mode
            private = path.stat().st_size <= MOST_KEY_BYTES and KEY_MARK in path.read_bytes()
        except OSError:
            continue
        if private and mode & OTHERS:
            detail = f"{path} is a private key, and others on this machine may read it ({stat.filemode(mode)})"
            yield Finding("secrets", "warning", detail, f"chmod 600 {path}")


def _key_files(root: Path | None) -> Iterator[Path]:
    """The signing keys that vgan uses, and what looks like a key at the top of the workspace."""
    from vgan.media.certificates import development_file

    yield development_file()
    if named := os.environ.get("VGAN_C2PA_KEY"):
        yield Path(named).expanduser()
    try:
        workspace = Workspace.open(root, write=False, fetch=False, missing="accept")
    except VganError:
        return
    for pattern in KEY_FILES:
        yield from sorted(workspace.root.glob(pattern))
