"""What is computed of the real clips is computed once, and what is kept is never believed unseen."""

import os
import shutil

import numpy as np
import pytest
from made_runs import render, write_dataset, write_run
from safetensors.numpy import load_file, save_file

from vgan.config import EvaluateConfig
from vgan.data.shapes import DIRECTIONS
from vgan.evaluation import evaluate as module
from vgan.evaluation.evaluate import evaluate, evaluate_generator
from vgan.evaluation.real_cache import KEPT, keep_real_side, load_real_side
from vgan.evaluation.real_side import make_real_side, real_key
from vgan.evaluation.suite import FIGURES
from vgan.workspace import Workspace

QUICK = EvaluateConfig(clips=16, bootstrap=20)


@pytest.fixture
def made(monkeypatch):
    """Keys of the real sides that were computed."""
    keys = []

    def count(workspace, dataset, config, tick):
        keys.append(real_key(dataset, config))
        return make_real_side(workspace, dataset, config, tick)

    monkeypatch.setattr(module, "make_real_side", count)
    return keys


@pytest.fixture
def dataset(workspace):
    clips, labels = render(16, frames=4, size=16)
    made = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    write_run(workspace, made, "one")
    write_run(workspace, made, "two")
    return made


def kept_files(workspace):
    return sorted(workspace.root.glob("evaluation/shapes/*"))


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


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"clips": 17}, {"bootstrap": 21}], ids=["seed", "clips", "half-samples"]
)
def test_other_settings_are_another_real_side(workspace, dataset, made, change):
    evaluate(workspace, "one", QUICK)
    evaluate(workspace, "one", QUICK.model_copy(update=change))
    assert len(set(made)) == 2


def test_another_version_is_another_real_side(workspace, dataset):
    clips, labels = render(16, seed=5, frames=4, size=16)
    other = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    assert real_key(other, QUICK) != real_key(dataset, QUICK)


def truncated(path, other):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path, other):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_safetensors(path, other):
    path.write_bytes(b"\x80\x04pickle me")


def of_other_clips(path, other):
    shutil.copy(other, path)


def altered_under_its_hash(path, other):
    arrays = load_file(path)
    arrays["floor/frechet"] += 1
    save_file(arrays, path, {"key": path.stem, "sha256": "0" * 64})


@pytest.mark.parametrize("damage", [truncated, flipped, no_safetensors, of_other_clips, altered_under_its_hash])
def test_what_is_kept_is_a_hint_and_checked(workspace, dataset, made, damage):
    """FAULTS 48: a damaged, foreign or altered file is computed again, and replaced."""
    first = evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK)
    [kept] = kept_files(workspace)
    evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK.model_copy(update={"seed": 1}))
    [other] = set(kept_files(workspace)) - {kept}
    damage(kept, other)
    again = evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK)
    assert again.digest() == first.digest()
    assert len(made) == 3
    assert load_real_side(kept, kept.stem, 2) is not None


def test_a_lost_file_is_computed_again(workspace, dataset, made):
    evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK)
    shutil.rmtree(workspace.root / "evaluation")
    evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK)
    assert len(made) == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle(workspace, dataset, made, caplog):
    """FAULTS 48: the kept file is a help and no condition, so a workspace may be mounted read-only."""
    (workspace.root / "evaluation").write_text("in the way, as even root cannot make a folder here")
    for _ in range(2):
        evaluate_generator(workspace.run("one").generator, workspace, "shapes", "one", QUICK)
    assert len(made) == 2
    assert "not kept for the next evaluation" in caplog.text


def test_what_comes_back_is_what_was_kept(workspace, dataset):
    real = make_real_side(workspace, dataset, QUICK, lambda count, what: None)
    path = workspace.real_side("shapes", "k" * 64)
    keep_real_side(path, "k" * 64, real)
    back = load_real_side(path, "k" * 64, 2)
    for name, array in real.views.arrays.items():
        assert back.views[name].dtype == array.dtype
        assert (back.views[name] == array).all()
    assert back.reference.floors.keys() == {figure.name for figure in FIGURES}
    assert {c: dict(v) for c, v in back.reference.controls.items()} == real.reference.controls
    assert (back.draws(QUICK).each[3].real == real.draws(QUICK).each[3].real).all()
    assert load_real_side(path, "l" * 64, 2) is None


def test_only_the_last_used_files_of_a_dataset_stay(workspace, dataset):
    real = make_real_side(workspace, dataset, QUICK, lambda count, what: None)
    keys = [f"{number:064d}" for number in range(KEPT + 2)]
    for number, key in enumerate(keys):
        path = workspace.real_side("shapes", key)
        keep_real_side(path, key, real)
        os.utime(path, (number, number))
    assert load_real_side(workspace.real_side("shapes", keys[2]), keys[2], 2) is not None  # a use
    keep_real_side(workspace.real_side("shapes", "new"), "new", real)
    assert {path.stem for path in kept_files(workspace)} == {keys[2], *keys[4:], "new"}


def test_a_real_side_of_other_data_is_whole_too(tmp_path):
    workspace = Workspace.open(tmp_path / "other")
    noise = np.random.default_rng(0).integers(0, 256, (12, 4, 16, 16, 3)).astype(np.uint8)
    dataset = write_dataset(workspace, "noise", noise, [None] * 12)
    real = make_real_side(workspace, dataset, QUICK, lambda count, what: None)
    path = workspace.real_side("noise", "k")
    keep_real_side(path, "k", real)
    back = load_real_side(path, "k", 0)
    assert back.traits is None
    assert "mislabelled" not in back.reference.controls
    assert back.views["clip"].shape == (8, 64)
