import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import QUICK, render, write_dataset

from vgan.data.shapes import DIRECTIONS
from vgan.evaluation.real_cache import keep_real_side
from vgan.evaluation.real_side import make_real_side, real_key
from vgan.records import Dataset
from vgan.workspace import Workspace


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shapes64() -> tuple[np.ndarray, np.ndarray]:
    return render(64)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture(scope="session")
def shapes_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Dataset]:
    """A dataset whose real clips have been evaluated already: that takes most of an evaluation's time."""
    workspace = Workspace.open(tmp_path_factory.mktemp("shapes") / "workspace")
    clips, labels = render(28)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    key = real_key(dataset, QUICK)
    keep_real_side(workspace.real_side("shapes", key), key, make_real_side(workspace, dataset, QUICK, lambda *_: None))
    return workspace, dataset


@pytest.fixture
def shapes_dataset(workspace: Workspace, shapes_template: tuple[Workspace, Dataset]) -> Dataset:
    shutil.copytree(shapes_template[0].root, workspace.root, dirs_exist_ok=True)
    return shapes_template[1]
