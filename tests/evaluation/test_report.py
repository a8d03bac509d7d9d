"""Promises of the report: whole in itself, every text shown as text, nothing left out, readable by everybody."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from made_report import (
    CHECKPOINTS,
    HOSTILE,
    NAMES,
    Made,
    made_clips,
    made_dataset,
    made_evaluation,
    made_metric,
    made_run,
    made_verdict,
    write_made,
)

from vgan import page as module
from vgan.evaluation.curves import curves_html
from vgan.evaluation.glossary import CURVES, METRICS, figure, named
from vgan.evaluation.pages import throughput, write_verdict
from vgan.evaluation.previews import read_previews, read_rows
from vgan.evaluation.report import report_html, summary, with_verdict
from vgan.evaluation.report_films import counted, fitted, mosaic
from vgan.evaluation.suite import FIGURES
from vgan.media.encode import png_bytes
from vgan.media.provenance import read_marking
from vgan.records import Metric, Outcome
from vgan.workspace import RunFolder, Workspace


class Reader(HTMLParser):
    """Tags, every attribute that can fetch something, links within the page, names of its parts, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.parts: list[str] = []
        self.unnamed: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = {name: value or "" for name, value in attrs}
        self.sources += [found[name] for name in ("src", "srcset", "poster", "data") if name in found]
        self.links += [found["href"]] if "href" in found else []
        self.parts += [found["id"]] if "id" in found else []
        if tag in ("img", "video", "svg") and not (found.get("alt") or found.get("aria-label")):
            self.unnamed.append(tag)
        if tag == "th" and found.get("scope") not in ("row", "col"):
            self.unnamed.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(workspace: Workspace) -> Made:
    """A run whose class names, warnings, figures and curves were chosen to break out of the page."""
    return write_made(workspace, HOSTILE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Not to be changed."""
    return write_made(Workspace.open(tmp_path_factory.mktemp("made")))


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Made:
    """A copy that a test may change."""
    return replace(made, folder=RunFolder(Path(copytree(made.folder.path, tmp_path / "run"))))


def test_hostile_text_is_shown_as_text_and_the_page_fetches_nothing(hostile: Made) -> None:
    """FAULTS 46: classes, warnings, names of figures and of curves, and the gate's words are shown, never obeyed."""
    write_verdict(hostile.folder, hostile.run, hostile.dataset, hostile.evaluation, made_verdict(said=HOSTILE))
    page = Reader(hostile.page)
    assert page.text.count(HOSTILE) >= 6
    assert page.tags.count("img") == 2, "the contact sheets alone"
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "default-src 'none'" in hostile.page
    assert not re.search(r"@import|url\(", hostile.page)
    for text in ("<script", "<img", "<!--"):
        assert text not in hostile.card


def test_a_person_reads_the_verdict_first_and_the_settings_last(made: Made) -> None:
    page = Reader(made.page)
    assert page.parts == ["films", "seeds", "nearest", "metrics", "probes", "curves", "details"]
    assert page.links == [f"#{part}" for part in page.parts]
    places = [made.page.index(text) for text in ("Not judged yet", summary(made.evaluation)[:30], "<nav")]
    assert places == sorted(places)
    assert places[-1] < made.page.index("<section")


def test_everything_that_is_seen_has_words_for_those_who_do_not_see_it(made: Made) -> None:
    assert Reader(made.page).unnamed == []


def test_every_figure_stands_there_with_floor_interval_controls_and_score(made: Made) -> None:
    page = Reader(made.page)
    for metric in made.evaluation.metrics:
        for value in (metric.value, metric.floor, metric.low, *metric.controls.values()):
            assert figure(value) in page.text
        assert named(metric.name)[0] in page.text
        assert named(metric.name)[1] in page.text
    assert page.text.count("score 0.38") == len(NAMES)
    assert page.tags.count("circle") == len(NAMES)


def places(drawn: str, kind: str) -> list[float]:
    found = re.search(rf'<(?:line|circle) class="{kind}" (?:cx|x1)="([-\d.]+)%"(?: x2="([-\d.]+)%")?', drawn)
    assert found is not None
    return [float(place) for place in found.groups() if place]


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_gauge_runs_from_real_clips_to_the_worst_control_whichever_way_is_better(better: str) -> None:
    sign = 1 if better == "lower" else -1
    controls = tuple(sign * value for value in (5.0, 3.0))
    metric = made_metric("frechet", sign * 3.0, sign * 1.0, controls, "lower" if sign > 0 else "higher")
    drawn = report_of(metric)
    (floor, _), (worst, _), (dot,) = (places(drawn, kind) for kind in ("real", "worst", "dot"))
    assert floor < dot < worst
    assert dot == pytest.approx((floor + worst) / 2)
    low, high = places(drawn, "range")
    assert low < dot < high


def test_a_figure_beyond_every_control_is_said_and_stays_in_the_picture() -> None:
    drawn = report_of(made_metric("frechet", 99.0))
    assert "Worse than all spoilt clips" in drawn
    assert places(drawn, "worst")[0] < places(drawn, "dot")[0] <= 100


def test_a_figure_without_a_worse_control_has_no_gauge() -> None:
    drawn = report_of(made_metric("frechet", controls=(0.1, 0.05)))
    assert "no score" in drawn
    assert "<circle" not in drawn


def report_of(metric: Metric) -> str:
    dataset = made_dataset()
    run = made_run(dataset)
    return report_html(run, dataset, made_evaluation(dataset, run, (metric,)), made_clips(4), made_clips(4))


def test_a_report_of_the_figures_that_every_evaluation_has_is_whole() -> None:
    """Without copies looked for, curves, previews or classes that could be mistaken."""
    page = Reader(report_of(made_metric("frechet")))
    assert page.parts == ["films", "metrics", "probes", "details"]
    assert page.tags.count("video") == 2


def test_films_show_real_and_generated_clips_the_seeds_in_time_and_the_nearest_clips(made: Made) -> None:
    page = Reader(made.page)
    assert page.tags.count("video") == 5
    assert "0.300 times the usual distance: as near as a copy." in page.text
    assert "1.10 times the usual distance." in page.text
    assert "after 160, 320, 480 clips of training" in page.text


def test_generated_films_say_that_they_are_synthetic_and_real_ones_do_not(made: Made, tmp_path: Path) -> None:
    marked = []
    for number, text in enumerate(re.findall(r"data:video/mp4;base64,([^\"]+)", made.page)):
        (tmp_path / f"{number}.mp4").write_bytes(base64.b64decode(text))
        marked.append(read_marking(tmp_path / f"{number}.mp4").get("vgan_run"))
    assert marked == [None, *[made.run.run] * 4]


def test_previews_are_the_clips_that_training_drew(made: Made) -> None:
    previews = read_previews(made.folder, made.run)
    assert [preview.clips_seen for preview in previews] == [160, 320, 480]
    for preview, step in zip(previews, CHECKPOINTS, strict=True):
        assert (preview.clips_NTHWC == made_clips(12, step)[:6]).all()
    first, last = read_previews(made.folder, made.run, moments=2, seeds=1)
    assert (first.clips_seen, last.clips_seen) == (160, 480)
    assert len(last.clips_NTHWC) == 1


@pytest.mark.parametrize("content", [b"", b"GIF89a", png_bytes(np.zeros((4, 4, 3), np.uint8))])
def test_a_sample_that_is_no_sheet_is_left_out(own: Made, content: bytes) -> None:
    (own.folder.samples / "step-00000040.png").write_bytes(content)
    (own.folder.samples / "step-mine.png").write_bytes(b"")
    assert [preview.clips_seen for preview in read_previews(own.folder, own.run)] == [160, 480]


@pytest.mark.parametrize("place", [0, 20, 45, 60])
def test_a_damaged_picture_is_never_taken_for_pixels(place: int) -> None:
    """FAULTS 46: what unpacks to something else than the picture claims is refused."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    whole = png_bytes(image)
    assert (read_rows(whole, 99) == image).all()
    assert (read_rows(whole, 3) == image[:3]).all()
    with pytest.raises((ValueError, zlib.error)):
        read_rows(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :], 99)


OUTCOMES: tuple[tuple[Outcome, str], ...] = (
    ("promoted", "Promoted to champion"),
    ("forced", "by force"),
    ("registered", "not promoted"),
    ("refused", "Refused"),
)


@pytest.mark.parametrize(("outcome", "said"), OUTCOMES)
def test_the_gates_verdict_is_put_into_both_documents_without_any_clip(own: Made, outcome: Outcome, said: str) -> None:
    before = own.page
    write_verdict(own.folder, own.run, own.dataset, own.evaluation, made_verdict())
    write_verdict(own.folder, own.run, own.dataset, own.evaluation, made_verdict(outcome, "Guard recall fell."))
    assert said in own.page
    assert said.lower() in own.card
    assert "Guard recall fell." in own.page
    assert "Guard recall fell." in own.card
    assert "Not judged yet" not in own.page
    assert "It beats the champion." not in own.page, "an earlier verdict"
    assert before.partition("<nav")[2] == own.page.partition("<nav")[2]


def test_a_verdict_goes_into_no_page_that_has_no_place_for_it(own: Made) -> None:
    with pytest.raises(ValueError, match="no place"):
        with_verdict("<html></html>", made_verdict())
    own.folder.report.write_text("<html></html>")
    write_verdict(own.folder, own.run, own.dataset, own.evaluation, made_verdict())
    assert own.page == "<html></html>"
    assert "promoted to champion" in own.card


def test_every_setting_of_the_three_stages_is_listed_with_its_meaning(made: Made) -> None:
    text = Reader(made.page).text
    for config in (made.run.config, made.evaluation.config, made.dataset.config):
        for name, field in type(config).model_fields.items():
            assert f"{name}" in text
            assert (field.description or name) in text


def test_curves_have_titles_and_say_what_is_normal_and_unknown_ones_are_drawn(made: Made) -> None:
    text = Reader(made.page).text
    for title in ("Losses", "Discriminator's gap", "Variety of generated clips", "Throughput", "oddly_new"):
        assert title in text
    assert CURVES[0].normal in text
    assert "loss_d" not in text
    assert "Looks that found a collapse" not in text, "there was none"
    assert "discriminator" in text, "which of the two losses a line is"


def test_a_single_line_of_metrics_makes_no_curve() -> None:
    assert curves_html([]) == ""
    assert curves_html([{"step": 1, "loss": 0.5}]) == ""


def test_a_constant_curve_is_a_level_line() -> None:
    drawn = curves_html([{"clips": i, "loss": 0.5} for i in (16, 32, 48)])
    heights = {point.split(",")[1] for point in re.findall(r'points="([^"]+)"', drawn)[0].split()}
    assert len(heights) == 1


def test_an_uneven_curve_gets_its_moving_mean_and_a_plain_one_does_not() -> None:
    uneven = curves_html([{"clips": i, "loss": 1 + i % 2} for i in range(100)])
    heights = [
        [float(point.split(",")[1]) for point in points.split()] for points in re.findall(r'points="([^"]+)"', uneven)
    ]
    assert len(heights) == 2
    assert np.ptp(heights[1][10:-10]) < np.ptp(heights[0]) / 3
    assert curves_html([{"clips": i, "loss": i} for i in range(100)]).count("<polyline") == 1


def test_throughput_is_that_between_two_checkpoints_and_a_resumed_run_is_not_counted_twice(own: Made) -> None:
    lines = '{"step": 10, "seconds": 5}\n{"step": 20, "seconds": 7}\n{"step": 20, "seconds": 9}\n{"step": 30}\nx\n'
    own.folder.timing.write_text(lines)
    assert list(throughput(own.folder.timing, own.run)) == [{"clips": 160.0, "clips_per_second": 40.0}]


def test_a_mosaic_has_even_sides_and_holds_every_clip() -> None:
    clips = np.stack([np.full((3, 9, 11, 3), value, np.uint8) for value in (60, 120, 180, 200, 240)])
    film = mosaic(clips)
    assert film.shape[0] == 3
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    assert {60, 120, 180, 200, 240} <= set(np.unique(film).tolist())


@pytest.mark.parametrize(("side", "shown"), [(16, 96), (64, 64), (100, 100), (256, 128), (1024, 102)])
def test_clips_of_any_size_become_tiles_of_about_the_same(side: int, shown: int) -> None:
    assert fitted(np.full((1, 2, side, side, 3), 77, np.uint8)).shape[2:4] == (shown, shown)
    assert (fitted(np.full((1, 2, side, side, 3), 77, np.uint8)) == 77).all()


def test_every_figure_of_the_suite_has_words_in_the_glossary() -> None:
    assert {found.name for found in FIGURES} <= set(METRICS)
    assert all("see" in meaning.lower() for _, meaning in METRICS.values()), "what it sees and does not see"
    assert named("fvd2048_16f")[0] == "FVD, 2,048 clips of 16 frames"
    assert named("kvd256_8f")[0] == "KVD, 256 clips of 8 frames"
    assert named("mine") == ("mine", "")


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [module.LIGHT, module.DARK], ids=["light", "dark"])
def test_text_can_be_read_in_both_schemes(colours: dict[str, str]) -> None:
    for ink in ("ink", "soft", "mark", "bad", "good", "warm"):
        for ground in ("back", "card"):
            low, high = sorted((luminance(colours[ink]), luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_equal_runs_have_equal_reports(made: Made, tmp_path: Path) -> None:
    other = write_made(Workspace.open(tmp_path / "other"))
    assert other.page == made.page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.1234, "0.123"),
        (3.14159, "3.14"),
        (27.18, "27.2"),
        (56818.4, "56,818"),
        (-0.0032, "-0.0032"),
        (0.00012, "0.0001"),
        (2e-6, "2e-06"),
        (1e-15, "0.000"),
    ],
)
def test_figures_have_three_digits_that_count(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("number", "text"), [(870, "870"), (2_140, "2.1k"), (35_000, "35k"), (1_240_000, "1.2M")])
def test_counts_have_few_letters(number: int, text: str) -> None:
    assert counted(number) == text
