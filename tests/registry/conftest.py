"""The packaged model's entry, loaded as MLflow loads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_generator import generator_record, write_generator

from vgan.registry.package import ENTRY_FILE, build_package

LoadModel = Callable[[Path], Any]


@pytest.fixture(scope="session")
def generator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    write_generator(folder, generator_record())
    return folder


@pytest.fixture
def package(generator_folder: Path, tmp_path: Path) -> Path:
    build_package(generator_folder, "# card", tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture(scope="session")
def load_model() -> LoadModel:
    """`load_model(package)` is the model as MLflow would hold it."""
    spec = spec_from_file_location("entry_of_a_model", ENTRY_FILE)
    assert spec is not None and spec.loader is not None
    entry = module_from_spec(spec)
    spec.loader.exec_module(entry)

    def load(package: Path) -> Any:
        model = entry.VideoGenerator()
        model.load_context(SimpleNamespace(artifacts={"generator": str(package)}))
        return model

    return load
