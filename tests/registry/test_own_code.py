"""A registered model whose networks have changed since makes what it always made, by the code that it brings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_other_networks import with_other_networks

from vgan.errors import ConfigError, CorruptDataError
from vgan.registry.own_code import SWITCH, PackagedSampler, open_sampler
from vgan.registry.package import build_package
from vgan.sampling import Sampler
from vgan.storage import sha256_file


@pytest.fixture(scope="module")
def template(generator_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(generator_folder, folder / "generator")
    with pytest.MonkeyPatch.context() as patch:
        with_other_networks(patch, folder / "generator", folder / "code")
        build_package(folder / "generator", "# card", folder / "other")
    return folder / "other"


@pytest.fixture
def other(template: Path, tmp_path: Path) -> Path:
    """A package of other networks."""
    shutil.copytree(template, tmp_path / "other")
    return tmp_path / "other"


def test_clips_are_made_by_the_code_of_the_package_and_by_no_other(other, generator_folder) -> None:
    sampler, here = open_sampler(other), Sampler(generator_folder)
    asked = {"label": "up", "frames": 6, "truncation": 0.5}
    made, usual = sampler.sample(2, 4, **asked), here.sample(2, 4, **asked)
    assert np.abs(255 - made.astype(int) - usual).max() <= 1, "its code shows colours inverted"
    assert sampler.record.labels == here.record.labels and sampler.label_name(1) == "up"
    walk = sampler.sample(3, 4, to_seed=9)
    assert np.array_equal(walk[0], sampler.sample(1, 4)[0]) and not np.array_equal(walk[0], walk[1])


def test_what_todays_networks_make_is_left_to_them(package, generator_folder) -> None:
    assert not isinstance(open_sampler(package), PackagedSampler)
    assert not isinstance(open_sampler(generator_folder), PackagedSampler)


def test_a_run_of_other_networks_brings_no_code_and_is_refused(other) -> None:
    (other / "package.json").unlink()
    with pytest.raises(ConfigError, match="has version"):
        open_sampler(other)


def test_its_code_can_be_forbidden(other, monkeypatch) -> None:
    monkeypatch.setenv(SWITCH, "never")
    with pytest.raises(ConfigError, match=SWITCH):
        open_sampler(other)


def test_code_that_was_altered_does_not_run(other, tmp_path) -> None:
    """FAULTS 38: as of every package, each hash is checked before."""
    with (other / "code/vgan/sampling.py").open("a") as file:
        file.write(f"\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(CorruptDataError, match=r"sampling\.py was altered"):
        open_sampler(other)
    assert not (tmp_path / "ran").exists()


def test_errors_of_its_code_are_ours(other) -> None:
    with pytest.raises(ConfigError, match="truncation of 7"):
        open_sampler(other).sample(1, 0, truncation=7)


def test_code_that_does_not_run_here_is_said_to_be_so(other) -> None:
    source, index = other / "code/vgan/sampling.py", other / "package.json"
    source.write_text("import a_library_of_long_ago\n" + source.read_text().replace("from __future__", "# "))
    told = json.loads(index.read_bytes())
    told["files"]["code/vgan/sampling.py"] = sha256_file(source)
    index.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"does not run here.*a_library_of_long_ago"):
        open_sampler(other)
