import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_runs import render, write_dataset, write_run

from vgan.config import EvaluateConfig
from vgan.evaluation.card import model_card
from vgan.evaluation.curves import curves_html
from vgan.evaluation.evaluate import evaluate
from vgan.evaluation.glossary import figure
from vgan.evaluation.report import mosaic

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x>"


class Reader(HTMLParser):
    """Collects tags, and every attribute that can fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "data")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def hostile(workspace):
    """A run whose class names and training metrics were chosen to break out of the page."""
    clips, labels = render(12)
    dataset = write_dataset(workspace, "shapes", clips, [(HOSTILE, "b|`*")[label] for label in labels])
    trained = write_run(workspace, dataset, "one")
    lines = [{"step": i, "clips": 16 * i, HOSTILE: 1 / i, "loss_d": 0.7, "odd": "x"} for i in range(1, 9)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '[1]\n{"step": 9, "loss_d": NaN}\n{"half'
    workspace.run("one").metrics.write_text(text)
    evaluation, _ = evaluate(workspace, "one", EvaluateConfig(clips=16, bootstrap=20))
    return trained, dataset, evaluation, workspace.run("one").report.read_text()


def test_the_page_fetches_nothing_and_runs_nothing(hostile):
    page = Reader(hostile[3])
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "default-src 'none'" in hostile[3]
    assert not re.search(r"@import|url\(", hostile[3])


def test_hostile_text_is_shown_as_text(hostile):
    page = Reader(hostile[3])
    assert HOSTILE in page.text
    assert page.tags.count("img") == 2  # the contact sheets alone


def test_the_page_shows_both_films_every_metric_and_the_curves(hostile):
    _, _, evaluation, text = hostile
    page = Reader(text)
    assert page.tags.count("video") == 2
    assert page.tags.count("polyline") == 2  # the hostile name and loss_d; text is no curve
    for metric in evaluation.metrics:
        assert figure(metric.value) in page.text
        assert figure(metric.floor) in page.text
    assert "Real against real" in page.text
    assert evaluation.protocol in page.text
    assert evaluation.dataset_digest in page.text


def test_the_model_card_names_data_limits_figures_and_the_mark(hostile):
    trained, dataset, evaluation, _ = hostile
    card = model_card(trained, dataset, evaluation)
    for needed in (
        dataset.digest(),
        evaluation.protocol,
        "Limits",
        "Intended use",
        "trainedAlgorithmicMedia",
        "not FVD",
    ):
        assert needed in card
    assert figure(evaluation.metric("frechet").value) in card
    assert "<script" not in card
    assert "<img" not in card


def test_a_single_line_of_metrics_makes_no_curve():
    assert curves_html([]) == ""
    assert curves_html([{"step": 1, "loss": 0.5}]) == ""


def test_a_constant_curve_is_a_level_line():
    drawn = curves_html([{"clips": i, "loss": 0.5} for i in (16, 32, 48)])
    heights = {point.split(",")[1] for point in re.findall(r'points="([^"]+)"', drawn)[0].split()}
    assert len(heights) == 1


def test_a_mosaic_has_even_sides_and_holds_every_clip():
    clips = np.stack([np.full((3, 9, 11, 3), value, np.uint8) for value in (60, 120, 180, 200, 240)])
    film = mosaic(clips)
    assert film.shape[0] == 3
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    assert {60, 120, 180, 200, 240} <= set(np.unique(film).tolist())


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000"), (0.1234, "0.123"), (3.14159, "3.14"), (27.18, "27.2"), (56818.4, "56,818")]
)
def test_figures_have_three_digits_that_count(value, text):
    assert figure(value) == text
