from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import render, write_dataset

from vgan.data.shapes import DIRECTIONS
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


@pytest.fixture
def shapes_dataset(workspace: Workspace) -> Dataset:
    clips, labels = render(28)
    return write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
