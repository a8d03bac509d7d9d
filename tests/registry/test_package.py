"""Promises of the packaged model: complete, verified, without pickle, and alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vgan.errors import CorruptDataError
from vgan.registry.package import ENTRY_FILE, packaged_modules, verify_package
from vgan.sampling import Sampler
from vgan.storage import sha256_file

# Loads the package as MLflow's process does, where vgan cannot be imported.
ALONE = """
import sys
from pathlib import Path
for name in ("vgan", "tasks", "flows", "webdataset", "prefect", "av"):
    sys.modules[name] = None
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("entry", sys.argv[1])
entry = module_from_spec(spec)
spec.loader.exec_module(entry)
model = entry.VideoGenerator()
model.load_context(type("Context", (), {"artifacts": {"generator": sys.argv[2]}}))
import pandas
clips = model.predict(None, pandas.DataFrame({"num_videos": [2]}), {"seed": 4})
import hashlib
print(clips.shape, hashlib.sha256(clips.tobytes()).hexdigest())
rows = model.predict(None, pandas.DataFrame({"num_videos": [3]}), {"output": "mp4"})
print(list(rows.columns), list(rows["label"]), list(rows["seed"]))
"""


def test_the_package_carries_what_sampling_needs_and_nothing_of_training() -> None:
    modules = {path.as_posix() for path in packaged_modules()}
    assert {
        "sampling.py",
        "models/r3.py",
        "media/films.py",
        "media/marking.py",
        "media/provenance.py",
        "__init__.py",
    } <= modules
    assert not [m for m in modules if m.startswith(("training/", "data/", "evaluation/", "registry/", "generation/"))]
    assert "media/decode.py" not in modules, "it writes films and reads none"


@pytest.mark.e2e
def test_it_generates_alone_what_the_sampler_generates_here(
    package: Path, generator_folder: Path, tmp_path: Path
) -> None:
    import hashlib

    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(ENTRY_FILE), str(package)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    here = Sampler(generator_folder).sample(2, 4)
    first, second = done.stdout.strip().splitlines()
    assert first == f"(2, 4, 16, 16, 3) {hashlib.sha256(here.tobytes()).hexdigest()}"
    assert second == "['seed', 'label', 'mp4_base64', 'marking'] ['left', 'up', 'left'] [0, 1, 2]"
    assert not list(package.rglob("__pycache__")), "loading changed the package"


def test_a_package_is_as_it_was_made(package: Path) -> None:
    assert verify_package(package, sha256_file(package / "package.json")).run == "toys-1"


@pytest.mark.parametrize("name", ["weights.safetensors", "generator.json", "code/vgan/sampling.py", "MODEL_CARD.md"])
def test_an_altered_file_is_refused_by_name(package: Path, name: str) -> None:
    content = bytearray((package / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package / name).write_bytes(content)
    with pytest.raises(CorruptDataError, match=name):
        verify_package(package)


def test_code_that_was_slipped_in_is_refused_and_never_runs(package: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (package / "code" / "vgan" / "__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    (package / "code" / "vgan" / "extra.py").write_text(f"open({str(marker)!r}, 'w')")
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(ENTRY_FILE), str(package)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "refusing to load" in done.stderr
    assert not marker.exists()


def test_an_index_that_was_swapped_is_refused(package: Path) -> None:
    index = json.loads((package / "package.json").read_text())
    with pytest.raises(CorruptDataError, match=r"package\.json"):
        verify_package(package, "0" * 64)
    del index["files"]["MODEL_CARD.md"]
    (package / "package.json").write_text(json.dumps(index))
    with pytest.raises(CorruptDataError, match="MODEL_CARD"):
        verify_package(package)
