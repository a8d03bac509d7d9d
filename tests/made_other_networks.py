"""A package of networks that this vgan does not have: what an upgrade leaves behind in a registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vgan.models.network import R3_VERSION
from vgan.registry import package as packaging

OTHER_VERSION = R3_VERSION + 90


def with_other_networks(monkeypatch: pytest.MonkeyPatch, generator_folder: Path, code: Path) -> None:
    """Let the generator be of other networks, which show colours inverted, and packages bring their code.

    Args:
        monkeypatch: undoes the second.
        generator_folder: its generator.json is rewritten.
        code: an empty folder for the altered copy of vgan.
    """
    record = generator_folder / "generator.json"
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"family_version": OTHER_VERSION}))
    for module in packaging.packaged_modules():
        (code / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packaging.PACKAGE_ROOT / module, code / module)
    _replace(code / "models/network.py", f"R3_VERSION = {R3_VERSION}", f"R3_VERSION = {OTHER_VERSION}")
    _replace(code / "models/generate.py", ".add(1).mul(127.5)", ".neg().add(1).mul(127.5)")
    monkeypatch.setattr(packaging, "PACKAGE_ROOT", code)


def _replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path} has changed: {before!r}"
    path.write_text(text.replace(before, after))
