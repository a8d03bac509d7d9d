"""Promises of the model card: what a user of a model must know, true for its figures, and plain Markdown."""

from __future__ import annotations

from made_report import made_dataset, made_evaluation, made_metric, made_run, made_verdict

from vgan.evaluation.card import model_card
from vgan.evaluation.glossary import figure, named
from vgan.records import Metric


def card_of(*metrics: Metric, **fields: object) -> str:
    dataset = made_dataset()
    run = made_run(dataset)
    return model_card(run, dataset, made_evaluation(dataset, run, metrics or None).model_copy(update=fields))


def test_it_names_data_use_limits_evaluation_marking_rights_and_how_to_call_it() -> None:
    card = card_of()
    for part in (
        *("## How to use it", "## Training data", "## Intended use", "## Limits", "## How it was evaluated"),
        *("## Copies of training clips", "## Synthetic content", "## Licence and rights"),
        *("trainedAlgorithmicMedia", "C2PA", "watermark", "vgan verify-media", "not FVD", made_dataset().digest()),
        *("vgan sample --model toys-1 ", "It is in no registry", "vgan register --run toys-1"),
    ):
        assert part in card, part
    for number, line in enumerate(card.splitlines()):
        assert not line.startswith("None"), number


def test_a_registered_model_is_called_by_its_version_which_no_alias_takes_along() -> None:
    dataset = made_dataset()
    run = made_run(dataset)
    evaluation = made_evaluation(dataset, run)
    card = model_card(run, dataset, evaluation, model="birds/3")
    assert card.startswith("# birds: a generator")
    assert "vgan sample --model models:/birds/3 " in card and 'load_model("models:/birds/3")' in card
    packaged = model_card(run, dataset, evaluation, model="birds")
    assert "models:/birds/VERSION" in packaged and "`vgan models --name birds` says which VERSION that is" in packaged
    assert "champion" not in card + packaged


def test_every_figure_stands_there_with_floor_interval_score_and_meaning() -> None:
    card = card_of()
    for metric in made_evaluation(made_dataset(), made_run(made_dataset())).metrics:
        title, meaning = named(metric.name)
        assert f"| {title} " in card
        assert figure(metric.floor) in card
        assert figure(metric.low) in card
        assert meaning in card


def test_it_says_what_the_check_for_copies_found() -> None:
    near = made_metric("memorisation", 0.1, 1.0, (0.9, 0.9, 0.9, 0.9, 0.9, 0.02), "higher")
    far = made_metric("memorisation", 0.97, 1.0, (0.9, 0.9, 0.9, 0.9, 0.9, 0.02), "higher")
    frechet = made_metric("frechet")
    assert "as near as copies would be" in card_of(frechet, near)
    assert "no sign of copied clips" in card_of(frechet, far)
    assert "has not been checked for copies" in card_of(frechet)


def test_it_says_what_the_gate_said_once_it_was_asked() -> None:
    dataset = made_dataset()
    run = made_run(dataset, warnings=("the generator has collapsed to a few clips",))
    evaluation = made_evaluation(dataset, run)
    assert "Verdict of the gate" not in model_card(run, dataset, evaluation)
    card = model_card(run, dataset, evaluation, made_verdict("forced", "Guard recall fell."))
    assert "promoted to champion by force, against the gate" in card
    assert "failed: Guard recall fell." in card
    assert "Training warned: the generator has collapsed to a few clips" in card


def test_a_figure_without_a_score_is_said_to_have_none() -> None:
    assert "| none | still 0.100" in card_of(made_metric("frechet", controls=(0.1,)))
