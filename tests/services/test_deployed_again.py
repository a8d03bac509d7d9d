"""When `vgan up` deploys again: the forms in the UI show what was deployed last."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.services.database import Database
from flows.services.servers import Place
from flows.services.setup import deployment_digest
from vgan.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
CHANGED = ("prefect.yaml", "flows/retrain_flow.py", "flows/parameters.py", "vgan/config/train.py")


@pytest.mark.parametrize("changed", CHANGED)
def test_a_changed_deployment_flow_or_setting_is_deployed_again(changed: str, tmp_path: Path) -> None:
    for name in CHANGED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    workspace = Workspace(tmp_path / "workspace")
    place = Place(workspace, tmp_path, "127.0.0.1", 4311, 5311, Database(workspace))
    before = deployment_digest(place)
    assert deployment_digest(place) == before
    with open(tmp_path / changed, "a") as file:
        file.write("# changed\n")
    assert deployment_digest(place) != before
