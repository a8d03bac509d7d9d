import json

import numpy as np
import pytest
import torch
from made_runs import QUICK, render, write_dataset, write_run

from vgan.config import EvaluateConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.shapes import DIRECTIONS
from vgan.errors import BadInputError, ConfigError, CorruptDataError
from vgan.evaluation import evaluate as module
from vgan.evaluation.evaluate import evaluate, evaluate_generator
from vgan.evaluation.gate import decide
from vgan.evaluation.spoil import CONTROLS
from vgan.models.interface import Generator
from vgan.records import Evaluation
from vgan.sampling import Sampler


def constant(network: Generator) -> None:
    """All weights 0: every seed gives the same clip."""
    for parameter in network.parameters():
        parameter.zero_()


def poisoned(network: Generator) -> None:
    network.still_head.conv.bias.fill_(float("nan"))


def test_an_evaluation_is_written_and_the_second_call_finds_it(workspace, shapes_dataset):
    trained = write_run(workspace, shapes_dataset, "one")
    done = []
    evaluation, unchanged = evaluate(workspace, "one", QUICK, progress=lambda d, t, note: done.append((d, t, note)))
    assert not unchanged
    assert done[-1][0] == done[-1][1]
    assert evaluation.weights_sha256 == trained.generator.weights_sha256
    assert evaluation.heldout_clips == 16
    assert evaluation.metric("frechet").controls.keys() == {*CONTROLS, "mislabelled", "copied"}
    folder = workspace.run("one")
    assert Evaluation.from_json(folder.evaluation.read_bytes(), "here") == evaluation
    before = folder.evaluation.stat().st_mtime_ns
    assert evaluate(workspace, "one", QUICK) == (evaluation, True)
    assert folder.evaluation.stat().st_mtime_ns == before


def test_the_same_seed_gives_the_same_record_and_another_does_not(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    folder = workspace.run("one").generator
    first, again = (evaluate_generator(folder, workspace, "shapes", "one", QUICK) for _ in range(2))
    assert first.digest() == again.digest()
    assert first.timings != again.timings
    other = evaluate_generator(folder, workspace, "shapes", "one", QUICK.model_copy(update={"seed": 1}))
    assert other.metric("frechet").value != first.metric("frechet").value


def test_probes_are_reported_for_shapes_and_real_clips_pass_them(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    evaluation, _ = evaluate(workspace, "one", QUICK)
    assert evaluation.probes.keys() == evaluation.probes_real.keys()
    assert evaluation.probes_real["direction"] == evaluation.probes_real["one_object"] == 1
    assert evaluation.probes["direction"] < 0.7  # a fresh generator draws things, but they go anywhere


def test_other_data_get_no_probes_and_need_no_labels(workspace):
    noise = np.random.default_rng(0).integers(0, 256, (12, 4, 16, 16, 3)).astype(np.uint8)
    dataset = write_dataset(workspace, "noise", noise, [None] * 12)
    write_run(workspace, dataset, "one")
    evaluation, _ = evaluate(workspace, "one", QUICK)
    assert evaluation.probes == evaluation.probes_real == {}
    assert "mislabelled" not in evaluation.metric("frechet").controls


def test_a_constant_generator_is_refused(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "flat", constant)
    evaluation, _ = evaluate(workspace, "flat", QUICK)
    assert evaluation.finite
    assert evaluation.diversity == 0
    assert not decide(evaluation, None).register


def test_a_generator_of_nan_is_refused(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "nan", poisoned)
    with np.errstate(invalid="ignore"):
        evaluation, _ = evaluate(workspace, "nan", QUICK)
    assert not evaluation.finite
    assert not decide(evaluation, None).register


@pytest.mark.e2e
def test_the_better_of_two_generators_wins_the_gate(workspace):
    """A generator of something on black is closer to objects on black than one of bright clips."""

    def brighter(network: Generator) -> None:
        network.still_head.conv.bias.fill_(1.0)

    clips, labels = render(40)
    dataset = write_dataset(workspace, "shapes", clips, [DIRECTIONS[label] for label in labels])
    write_run(workspace, dataset, "dark")
    write_run(workspace, dataset, "bright", brighter)
    bright, dark = (evaluate(workspace, run, EvaluateConfig(clips=36, bootstrap=20))[0] for run in ("bright", "dark"))
    assert decide(dark, bright).promote
    assert not decide(bright, dark).promote
    assert not decide(bright, bright).promote


@pytest.mark.e2e
def test_new_data_or_a_damaged_record_are_evaluated_anew(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    first, _ = evaluate(workspace, "one", QUICK)
    clips, labels = render(24, seed=9)
    write_dataset(workspace, "shapes", clips, [("left", "up")[label] for label in labels])
    second, unchanged = evaluate(workspace, "one", QUICK)
    assert not unchanged
    assert second.dataset_digest != first.dataset_digest
    workspace.run("one").evaluation.write_text("{")
    third, unchanged = evaluate(workspace, "one", QUICK)
    assert not unchanged
    assert third.digest() == second.digest()


def test_a_record_of_an_earlier_protocol_is_evaluated_anew(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    now, _ = evaluate(workspace, "one", QUICK)
    before = now.model_dump(mode="json", exclude={"halves", "training_clips", "timings"})
    before |= {"protocol": "heldout-halves-1/random-conv3d-0", "guards": ["recall", "motion"]}
    workspace.run("one").evaluation.write_text(json.dumps(before))
    again, unchanged = evaluate(workspace, "one", QUICK)
    assert not unchanged
    assert again.digest() == now.digest()


def test_the_report_shows_the_training_clips_that_lie_nearest(workspace, shapes_dataset, monkeypatch, caplog):
    given = []
    monkeypatch.setattr(module, "write_pages", lambda *args: given.append(args[-1]))
    write_run(workspace, shapes_dataset, "one")
    evaluate(workspace, "one", QUICK)
    [pairs] = given
    assert len(pairs) == module.NEAREST_SHOWN
    ratios = [ratio for _, _, ratio in pairs]
    assert ratios == sorted(ratios)
    sampler = Sampler(workspace.run("one").generator)
    made = [sampler.sample(1, seed, label)[0].tobytes() for seed in range(16) for label in (0, 1)]
    held = ClipSet(workspace.dataset("shapes"), shapes_dataset, "train")
    training = [clip.tobytes() for clip in held.read(range(4)).transpose(0, 2, 3, 4, 1)]
    assert all(fake.tobytes() in made and train.tobytes() in training for fake, train, _ in pairs)
    for shard in workspace.dataset("shapes").shards.glob("train-*"):
        shard.unlink()
    workspace.run("one").evaluation.unlink()
    evaluate(workspace, "one", QUICK)
    assert given[-1] == []
    assert "the report shows no training clips" in caplog.text


def test_too_few_held_out_clips_are_named_with_a_remedy(workspace):
    clips, labels = render(7)
    dataset = write_dataset(workspace, "few", clips, [("left", "up")[label] for label in labels])
    write_run(workspace, dataset, "one")
    with pytest.raises(BadInputError, match="only 3 clips are held out") as caught:
        evaluate(workspace, "one", QUICK)
    assert "--heldout" in caught.value.hint
    assert not workspace.run("one").evaluation.exists()


def test_four_held_out_clips_are_enough(workspace):
    clips, labels = render(8)
    dataset = write_dataset(workspace, "few", clips, [("left", "up")[label] for label in labels])
    write_run(workspace, dataset, "one")
    evaluation, _ = evaluate(workspace, "one", QUICK)
    assert evaluation.metric("frechet").real_clips == 2


def test_an_unknown_run_is_named_with_the_known_ones(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    with pytest.raises(ConfigError, match="no finished run 'two'") as caught:
        evaluate(workspace, "two", QUICK)
    assert "one" in caught.value.hint


def test_a_generator_of_other_clips_is_refused(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    clips, labels = render(12, size=16)
    write_dataset(workspace, "shapes", clips, [("left", "up")[label] for label in labels])
    with pytest.raises(ConfigError, match="8 x 32 x 32"):
        evaluate(workspace, "one", QUICK)


def test_damaged_weights_are_refused(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    weights = workspace.run("one").generator / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptDataError):
        evaluate(workspace, "one", QUICK)


def test_watching_for_nan_leaves_the_generator_as_it_was(workspace, shapes_dataset):
    write_run(workspace, shapes_dataset, "one")
    sampler = Sampler(workspace.run("one").generator)
    evaluate(workspace, "one", QUICK)
    assert not sampler.network._forward_hooks
    assert torch.isfinite(next(sampler.network.parameters())).all()
