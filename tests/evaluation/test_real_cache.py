"""What is computed of the real clips is computed once, and what is kept is never believed unseen."""

import os
import shutil

import numpy as np
import pytest
from made_runs import QUICK, render, write_dataset, write_run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from vgan.data.shapes import DIRECTIONS
from vgan.evaluation import evaluate as module
from vgan.evaluation.evaluate import evaluate, evaluate_generator
from vgan.evaluation.real_cache import KEPT, keep_arrays, keep_real_side, load_real_side
from vgan.evaluation.real_side import make_real_side, real_key
from vgan.evaluation.suite import FIGURES
from vgan.workspace import Workspace

KEY = "k" * 64


@pytest.fixture
def made(monkeypatch):
    """Keys of the real sides that were computed."""
    keys = []

    def count(workspace, dataset, config, tick):
        keys.append(real_key(dataset, config))
        return make_real_side(workspace, dataset, config, tick)

    monkeypatch.setattr(module, "make_real_side", count)
    return keys


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A workspace with a dataset, two runs, and what is known of the real clips."""
    workspace = Workspace.open(tmp_path_factory.mktemp("tiny") / "workspace")
    clips, labels = render(16, frames=4, size=16)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    write_run(workspace, dataset, "one")
    write_run(workspace, dataset, "two")
    return workspace, dataset, make_real_side(workspace, dataset, QUICK, lambda *_: None)


@pytest.fixture
def dataset(workspace, tiny):
    shutil.copytree(tiny[0].root, workspace.root, dirs_exist_ok=True)
    return tiny[1]


@pytest.fixture
def real(tiny):
    return tiny[2]


@pytest.fixture
def kept(workspace, real):
    """The file in which what is known lies under KEY."""
    path = workspace.real_side("shapes", KEY)
    keep_real_side(path, KEY, real)
    return path


def kept_files(workspace):
    return sorted(workspace.root.glob("evaluation/shapes/*"))


@pytest.mark.e2e
def test_a_second_model_is_evaluated_without_the_real_clips(workspace, dataset, made):
    alone, _ = evaluate(workspace, "two", QUICK)
    shutil.rmtree(workspace.root / "evaluation")
    workspace.run("two").evaluation.unlink()
    evaluate(workspace, "one", QUICK)
    shutil.rmtree(workspace.dataset("shapes").shards)
    beside, unchanged = evaluate(workspace, "two", QUICK)
    assert not unchanged
    assert len(made) == 2
    assert beside.digest() == alone.digest()  # to the last bit as if computed together
    assert "real clips: kept" in beside.timings
    assert "held-out clips" not in beside.timings


@pytest.mark.parametrize("change", [{"seed": 1}, {"clips": 17}, {"bootstrap": 21}])
def test_other_settings_are_another_real_side(dataset, change):
    assert real_key(dataset, QUICK.model_copy(update=change)) != real_key(dataset, QUICK)


def test_another_version_is_another_real_side(workspace, dataset):
    clips, labels = render(16, seed=5, frames=4, size=16)
    other = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    assert real_key(other, QUICK) != real_key(dataset, QUICK)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_safetensors(path):
    path.write_bytes(b"\x80\x04pickle me")


def empty(path):
    path.write_bytes(b"")


def of_other_clips(path):
    rewrite(path, load_file(path), "o" * 64)


def altered(path):
    arrays = load_file(path)
    with safe_open(path, "np") as file:
        said = file.metadata()
    arrays["floor/frechet"] += 1
    save_file(arrays, path, said)


def without_a_view(path):
    arrays = load_file(path)
    rewrite(path, {name: array for name, array in arrays.items() if not name.startswith("space/")}, KEY)


def without_a_name(path):
    save_file(load_file(path), path)


def rewrite(path, arrays, key):
    keep_arrays(path, key, arrays)


DAMAGES = [truncated, flipped, no_safetensors, empty, of_other_clips, altered, without_a_view, without_a_name]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_kept_is_a_hint_and_checked(kept, damage, caplog):
    """FAULTS 48: a damaged, foreign or altered file is not used."""
    assert load_real_side(kept, KEY, 2) is not None
    damage(kept)
    assert load_real_side(kept, KEY, 2) is None
    assert "computing the real clips' features again" in caplog.text


@pytest.mark.e2e
def test_what_cannot_be_used_is_computed_again_and_replaced(workspace, dataset, real, made):
    """FAULTS 48: an altered or lost file changes no figure."""
    key = real_key(dataset, QUICK)
    kept = workspace.real_side("shapes", key)
    keep_real_side(kept, key, real)
    generator = workspace.run("one").generator
    first = evaluate_generator(generator, workspace, "shapes", "one", QUICK)
    assert not made
    altered(kept)
    assert evaluate_generator(generator, workspace, "shapes", "one", QUICK).digest() == first.digest()
    assert made == [key]
    assert load_real_side(kept, key, 2) is not None
    kept.unlink()
    assert evaluate_generator(generator, workspace, "shapes", "one", QUICK).digest() == first.digest()
    assert made == [key, key]


def test_a_folder_that_cannot_be_written_is_no_obstacle(workspace, real, caplog):
    """FAULTS 48: the kept file is a help and no condition, so a workspace may be mounted read-only."""
    (workspace.root / "evaluation").write_text("in the way, since root may write anywhere")
    keep_real_side(workspace.real_side("shapes", KEY), KEY, real)
    assert "not kept for the next evaluation" in caplog.text
    assert load_real_side(workspace.real_side("shapes", KEY), KEY, 2) is None


def test_what_comes_back_is_what_was_kept(kept, real):
    back = load_real_side(kept, KEY, 2)
    for name, array in real.views.arrays.items():
        assert back.views[name].dtype == array.dtype
        assert (back.views[name] == array).all()
    assert back.reference.floors.keys() == {figure.name for figure in FIGURES}
    assert back.reference.controls == real.reference.controls
    assert (back.draws(QUICK).each[3].real == real.draws(QUICK).each[3].real).all()
    assert (back.traits.cell == real.traits.cell).all()


def test_only_the_last_used_files_of_a_dataset_stay(workspace, real):
    paths = [workspace.real_side("shapes", f"{number:064d}") for number in range(KEPT)]
    for number, path in enumerate(paths):
        keep_real_side(path, path.stem, real)
        os.utime(path, (number, number))
    assert load_real_side(paths[0], paths[0].stem, 2) is not None  # a use
    keep_real_side(workspace.real_side("shapes", "new"), "new", real)
    assert {path.stem for path in kept_files(workspace)} == {"new", *(path.stem for path in paths if path != paths[1])}


def test_a_real_side_of_other_data_is_whole_too(workspace):
    noise = np.random.default_rng(0).integers(0, 256, (12, 4, 16, 16, 3)).astype(np.uint8)
    dataset = write_dataset(workspace, "noise", noise, [None] * 12)
    real = make_real_side(workspace, dataset, QUICK, lambda *_: None)
    path = workspace.real_side("noise", KEY)
    keep_real_side(path, KEY, real)
    back = load_real_side(path, KEY, 0)
    assert back.traits is None
    assert "mislabelled" not in back.reference.controls
    assert back.views["clip"].shape == (8, 64)
