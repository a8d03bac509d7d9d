"""The form that people fill in is made of the configurations: in order, titled, and with every bound in words."""

from __future__ import annotations

from typing import Any

import pytest

from vgan.config import EvaluateConfig, IngestConfig, RegisterConfig, SampleConfig, Spec, TrainConfig

KINDS = (IngestConfig, TrainConfig, EvaluateConfig, RegisterConfig, SampleConfig)


def field_of(kind: type[Spec], name: str) -> dict[str, Any]:
    return kind.model_json_schema()["properties"][name]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_fields_say_their_place_for_databases_that_forget_it(kind: type[Spec]) -> None:
    fields = kind.model_json_schema()["properties"]
    assert [field["position"] for field in fields.values()] == list(range(len(kind.model_fields)))
    assert list(fields) == list(kind.model_fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_has_a_title_of_its_own(kind: type[Spec]) -> None:
    titles = {name: field.title or "" for name, field in kind.model_fields.items()}
    assert all(title[:1].isupper() for title in titles.values()), titles
    assert len(set(titles.values())) == len(titles)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (IngestConfig, "frames", "2 to 256."),
        (IngestConfig, "height", "16 to 1,024, a multiple of 8."),
        (IngestConfig, "fps", "More than 0, at most 120."),
        (IngestConfig, "max_clips_per_video", "1 to 1,000,000."),
        (TrainConfig, "seed", "0 to 2,147,483,647."),
        (RegisterConfig, "tolerance", "0 to 1."),
    ],
)
def test_bounds_are_said_in_words(kind: type[Spec], name: str, said: str) -> None:
    assert field_of(kind, name)["description"].endswith(f". {said}")


def test_a_field_without_bounds_says_what_it_said() -> None:
    assert field_of(TrainConfig, "preset")["description"] == TrainConfig.model_fields["preset"].description


def test_the_preset_comes_first_and_force_last() -> None:
    assert next(iter(TrainConfig.model_fields)) == "preset"
    assert list(RegisterConfig.model_fields)[-1] == "force"
