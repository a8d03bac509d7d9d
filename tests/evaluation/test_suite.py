"""The list of figures, and what is taken from a dataset to compute them."""

import numpy as np
import pytest
from made_runs import QUICK, render, write_dataset

from vgan.data.loading.loader import ClipSet
from vgan.data.shapes import DIRECTIONS
from vgan.errors import BadInputError
from vgan.evaluation import evidence
from vgan.evaluation.evidence import groups_of, stand_ins, training_part, training_side
from vgan.evaluation.real_side import make_real_side
from vgan.evaluation.spoil import CONTROLS
from vgan.evaluation.suite import COMPARISONS, FIGURES, GUARDS, PRIMARY, compare
from vgan.evaluation.views import Views, look
from vgan.records import BatchRef, Shard

NAMES = {
    "frechet", "kernel", "motion", "precision", "recall", "density", "coverage", "neighbour", "classifier",
    "memorisation", "sliced_frames", "sliced_xt", "sliced_yt", "sliced_changes", "motion_size", "motion_direction",
    "flicker",
}  # fmt: skip


def test_the_figures_have_the_names_that_others_read():
    assert len(FIGURES) == len(NAMES)
    assert {figure.name for figure in FIGURES} == NAMES
    assert {PRIMARY, *GUARDS} <= NAMES
    assert all(figure.sees <= {*CONTROLS, "mislabelled", "copied"} for figure in FIGURES)


def test_what_decides_is_drawn_as_often_as_asked():
    assert all(figure.draws == 10_000 for figure in FIGURES if figure.name in {PRIMARY, *GUARDS})


def test_one_figure_alone_sees_copies():
    assert [figure.name for figure in FIGURES if "copied" in figure.sees] == ["memorisation"]


@pytest.fixture(scope="module")
def seen(shapes64):
    clips, _ = shapes64
    return look(clips, 0)


def test_chunks_of_clips_give_the_views_of_all(shapes64, seen):
    clips, _ = shapes64
    joined = Views.join([look(clips[start : start + evidence.CHUNK], 0) for start in (0, evidence.CHUNK)])
    for name, array in seen.arrays.items():
        assert joined[name].dtype == array.dtype
        close = np.isclose(joined[name].astype(float), array.astype(float), rtol=1e-3, atol=1e-3)
        assert close.mean() > 0.999, name  # a sum in another order may cross a threshold


def test_every_comparison_gives_a_value_for_each_of_its_figures(seen):
    views = seen.beside(novelty=np.linspace(1, 2, 64))
    values = compare(views.take(slice(0, 64, 2)), views.take(slice(1, 64, 2)))
    assert values.keys() == NAMES
    assert all(np.isfinite(list(values.values())))
    without = compare(*[Views({"clip": views["clip"][i::2]}) for i in (0, 1)])
    assert without.keys() == {f.name for c in COMPARISONS if c.view == "clip" for f in c.figures}


def test_copies_are_seen_by_memorisation_and_by_no_distance(workspace):
    """A training set in the place of generated clips looks perfect to every figure but one."""
    clips, labels = render(120)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels], train=60)
    real = make_real_side(workspace, dataset, QUICK.model_copy(update={"clips": 60}), lambda *_: None)
    copied, noise = (real.reference.controls[name] for name in ("copied", "noise"))
    floor = {name: values.mean() for name, values in real.reference.floors.items()}
    assert copied["memorisation"] == pytest.approx(0, abs=1e-3)
    assert floor["memorisation"] > 0.8
    for name in ("frechet", "kernel", "motion", "density", "coverage", "sliced_frames", "motion_size"):
        assert abs(copied[name] - floor[name]) < 0.2 * abs(noise[name] - floor[name]), name


def test_stand_ins_have_the_labels_that_are_wanted():
    labels, rng = np.array([1, 0, 0, 1, 0]), np.random.default_rng(0)
    wanted = np.array([0, 0, 0, 1, 1])
    places = stand_ins(labels, wanted, rng)
    assert labels[places].tolist() == wanted.tolist()
    assert len(set(places)) == 5
    assert len(stand_ins(labels, np.zeros(7, np.int64), rng)) == 7  # again and again
    assert len(stand_ins(labels, np.array([2, 2]), rng)) == 2  # of any label, where none has it


def test_of_many_training_clips_only_some_batches_are_taken(workspace, monkeypatch):
    clips, labels = render(12, frames=4, size=16)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels], train=4)
    [batch] = dataset.batches
    many = dataset.model_copy(update={"batches": tuple(renamed(batch, i) for i in range(10))})
    monkeypatch.setattr(evidence, "MOST_TRAINING", 10)
    part = training_part(many, 0)
    assert part.clips("train") == 12
    assert {b.key for b in part.batches} == {b.key for b in training_part(many, 0).batches}
    assert {b.key for b in part.batches} != {b.key for b in training_part(many, 1).batches}
    assert training_part(dataset, 0).batches == dataset.batches


def renamed(batch: BatchRef, number: int) -> BatchRef:
    return batch.model_copy(update={"key": f"{number:016d}", "shards": tuple(map(Shard.model_copy, batch.shards))})


def test_a_dataset_without_training_clips_is_refused_with_a_remedy(workspace):
    clips, labels = render(8, frames=4, size=16)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels], train=0)
    none = ClipSet(workspace.dataset("shapes"), dataset, "train")
    with pytest.raises(BadInputError, match="no training clip") as caught:
        training_side(none, np.zeros(2, np.int64), QUICK, lambda *_: None)
    assert "--heldout" in caught.value.hint


def test_clips_of_one_group_of_videos_have_one_number(workspace):
    clips, labels = render(10, frames=4, size=16)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels], train=2)
    held = ClipSet(workspace.dataset("shapes"), dataset, "heldout")
    groups = groups_of(workspace.dataset("shapes"), dataset, [held.keys[0], held.keys[1], held.keys[0][:16] + "-00001"])
    assert groups[0] == groups[2] != groups[1]
