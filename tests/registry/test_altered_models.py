"""A registered model that somebody altered is refused, and nothing that they put into it runs."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from vgan.errors import CorruptDataError
from vgan.registry.package import ENTRY_FILE, INDEX_FILE, PACKAGE_FOLDER, build_package, verify_model
from vgan.storage import sha256_file

Alter = Callable[[Path, Path], None]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def saved(generator_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder as MLflow stores it; not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    build_package(generator_folder, "# card", folder / "generator")
    artifacts = {"generator": str(folder / "generator")}
    mlflow.pyfunc.save_model(
        str(folder / "model"), python_model=str(ENTRY_FILE), artifacts=artifacts, pip_requirements=["mlflow"]
    )
    return folder / "model"


@pytest.fixture
def registered_sha256(saved: Path) -> str:
    """What the registry's tag says."""
    return sha256_file(saved / PACKAGE_FOLDER / INDEX_FILE)


def rehash(model: Path, name: str) -> None:
    """Write the altered file's hash into the index, as whoever altered it would."""
    index = model / PACKAGE_FOLDER / INDEX_FILE
    told = json.loads(index.read_bytes())
    told["files"][name] = sha256_file(model / PACKAGE_FOLDER / name)
    index.write_text(json.dumps(told))


def pickled_weights(model: Path, mark: Path) -> None:
    content = pickle.dumps(Trap(mark))
    (model / PACKAGE_FOLDER / "weights.safetensors").write_bytes(content)
    record = model / PACKAGE_FOLDER / "generator.json"
    record.write_text(
        json.dumps(json.loads(record.read_bytes()) | {"weights_sha256": hashlib.sha256(content).hexdigest()})
    )
    rehash(model, "weights.safetensors")
    rehash(model, "generator.json")


def altered_code(model: Path, mark: Path) -> None:
    with (model / PACKAGE_FOLDER / "code/vgan/sampling.py").open("a") as file:
        file.write(f"\nopen({str(mark)!r}, 'w').close()\n")


def extra_code(model: Path, mark: Path) -> None:
    (model / PACKAGE_FOLDER / "code/vgan/extra.py").write_text(f"open({str(mark)!r}, 'w').close()\n")


def pickled_model(model: Path, mark: Path) -> None:
    (model / "python_model.pkl").write_bytes(pickle.dumps(Trap(mark)))
    text = re.sub(r"loader_module: .*", "loader_module: mlflow.pyfunc.model", (model / "MLmodel").read_text())
    text = re.sub(r"model_code_path: .*", "python_model: python_model.pkl", text)
    (model / "MLmodel").write_text(text)


ALTERED: dict[str, Alter] = {
    "pickled weights with matching hashes": pickled_weights,
    "altered code": altered_code,
    "extra code": extra_code,
    "a pickled model that MLmodel names": pickled_model,
}


def altered(saved: Path, tmp_path: Path, how: str) -> tuple[Path, Path]:
    """An altered copy, and the file that must not come into being."""
    model, mark = tmp_path / "model", tmp_path / "executed"
    shutil.copytree(saved, model)
    ALTERED[how](model, mark)
    return model, mark


def test_a_model_as_it_was_saved_is_accepted_and_loads(saved, registered_sha256, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert verify_model(saved, registered_sha256).run == "toys-1"
    assert mlflow.pyfunc.load_model(str(saved)) is not None
    assert verify_model(saved, registered_sha256), "loading changed nothing"


@pytest.mark.parametrize("how", ALTERED)
def test_vgan_refuses_an_altered_model_before_it_is_used(saved, registered_sha256, tmp_path, how) -> None:
    """FAULTS 16, 38: a pickle in a model is refused, not loaded, and so is code that was not registered."""
    model, mark = altered(saved, tmp_path, how)
    with pytest.raises(CorruptDataError):
        verify_model(model, registered_sha256)
    assert not mark.exists()


@pytest.mark.parametrize("how", ALTERED)
def test_mlflow_does_not_run_what_was_put_into_a_model(saved, tmp_path, monkeypatch, how) -> None:
    """FAULTS 16: MLflow refuses too, with its own switch against pickles set."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model, mark = altered(saved, tmp_path, how)
    with pytest.raises(Exception, match=r"refusing to load|does not hold the weights|pickle is disallowed") as caught:
        mlflow.pyfunc.load_model(str(model))
    assert isinstance(caught.value, MlflowException) or type(caught.value).__name__ == "CorruptDataError"
    assert not mark.exists()


def test_an_altered_entry_and_a_file_beside_the_package_are_named(saved, registered_sha256, tmp_path) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved, model)
    (model / "code").mkdir()
    (model / "code" / "helper.py").write_text("")
    with pytest.raises(CorruptDataError, match=r"code/helper.py is no part of this model"):
        verify_model(model, registered_sha256)
    shutil.rmtree(model / "code")
    with (model / "entry.py").open("a") as file:
        file.write("\n")
    with pytest.raises(CorruptDataError, match=r"entry.py was altered"):
        verify_model(model, registered_sha256)


def test_the_traps_of_these_tests_do_spring(saved, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    model, mark = altered(saved, tmp_path, "a pickled model that MLmodel names")
    with pytest.raises(AttributeError):  # what the pickle gives is no model, which comes too late
        mlflow.pyfunc.load_model(str(model))
    assert mark.exists()
