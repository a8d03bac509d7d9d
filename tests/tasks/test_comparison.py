"""Promises of `vgan compare`: both models on equal seeds in one film that says what it is, and their figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tasks import registration
from tasks.comparison import compare
from vgan.config import RegisterConfig
from vgan.errors import ConfigError
from vgan.evaluation import side_by_side
from vgan.media.provenance import SYNTHETIC, read_marking
from vgan.records import Evaluation
from vgan.sampling import Sampler
from vgan.storage import write_atomic
from vgan.workspace import Workspace


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The development certificate of whoever runs the tests is not made or used."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("VGAN_C2PA_CERTIFICATE", "VGAN_C2PA_KEY"):
        monkeypatch.delenv(name, raising=False)


def told(workspace: Workspace, *words: str, code: int = 0) -> dict:
    result = CliRunner().invoke(app, ["compare", *words, "--json", "--workspace", str(workspace.root)])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_pairs_have_equal_seeds_and_classes_and_the_first_model_is_on_the_left(
    workspace, make_run, tmp_path, monkeypatch
) -> None:
    make_run("toys-1", seed=1), make_run("toys-2", seed=2)
    shown: list[np.ndarray] = []
    monkeypatch.setattr(side_by_side, "film", lambda pairs, names: shown.append(pairs) or _film(pairs, names))
    found = compare(workspace, ("toys-1", "toys-2"), tmp_path / "out", num=3, seed=5)
    assert (found.seeds, found.labels) == ((5, 6, 7), ("left", "up", "left"))
    for side, run in enumerate(("toys-1", "toys-2")):
        own = Sampler(workspace.run(run).generator).sample(3, 5)
        np.testing.assert_array_equal(shown[0][:, side, :, ::4, ::4], own)  # 16 px, enlarged four times


_film = side_by_side.film


@pytest.mark.e2e
def test_film_and_sheet_say_that_they_are_synthetic_and_which_models_made_them(workspace, make_run, tmp_path) -> None:
    make_run("toys-1", seed=1), make_run("toys-2", seed=2)
    said = told(workspace, "toys-1", "toys-2", "--out", str(tmp_path / "out"), "--num", "2", "--seed", "5")
    film, sheet, listing = map(Path, said["files"])
    assert sorted((tmp_path / "out").iterdir()) == sorted([film, sheet, listing])
    marking = read_marking(film)
    assert marking["digitalSourceType"] == SYNTHETIC
    assert marking["vgan_run"] == "toys-1 and toys-2"
    assert b"trainedAlgorithmicMedia" in sheet.read_bytes()
    told_there = json.loads(listing.read_text())
    assert told_there["synthetic"] and told_there["models"] == ["toys-1", "toys-2"]
    assert told_there["pairs"] == said["pairs"] == [{"seed": 5, "label": "left"}, {"seed": 6, "label": "up"}]


def test_figures_are_compared_where_both_were_evaluated_alike(workspace, make_run, tmp_path) -> None:
    make_run("toys-1", figure=1.0, seed=1), make_run("toys-2", figure=0.5, seed=2)
    out = ["--out", str(tmp_path / "out"), "--num", "1"]
    figures = told(workspace, "toys-1", "toys-2", *out)["figures"]
    assert (figures["frechet"]["first"]["value"], figures["frechet"]["second"]["value"]) == (1.0, 0.5)
    assert (figures["frechet"]["ahead"], figures["frechet"]["floor"]) == ("second", 0.1)
    words = ["compare", "toys-1", "toys-2", *out, "--workspace", str(workspace.root)]
    shown = " ".join(CliRunner().invoke(app, words, env={"COLUMNS": "300"}).output.split())
    assert "0.5 to 0.5" in shown and "left toys-1, right toys-2" in shown

    path = workspace.run("toys-2").evaluation
    known = Evaluation.from_json(path.read_bytes(), str(path))
    write_atomic(path, known.model_copy(update={"dataset_digest": "e" * 64}).to_json())
    said = told(workspace, "toys-1", "toys-2", *out)
    assert not said["comparable"] and "other clips" in said["reasons"][0] and said["figures"] == {}
    assert "not comparable: They were evaluated on other clips" in CliRunner().invoke(app, words).output

    path.unlink()
    said = told(workspace, "toys-1", "toys-2", *out)
    assert said["reasons"] == ["There is no evaluation of toys-2 (`vgan evaluate` makes one)."]


@pytest.mark.e2e
def test_a_registered_model_is_compared_when_its_run_has_gone(workspace, make_run, tmp_path) -> None:
    make_run("toys-1", figure=1.0, seed=1), make_run("toys-2", figure=0.5, seed=2)
    registration.register(workspace, "toys-1", RegisterConfig())
    for path in workspace.run("toys-1").path.rglob("*"):
        path.unlink() if path.is_file() else None
    found = compare(workspace, ("models:/toys@champion", "toys-2"), tmp_path / "out", num=1)
    assert found.names == ("toys/1", "toys-2")
    assert [(row.name, row.first.value, row.ahead) for row in found.rows] == [("frechet", 1.0, "second")]


def test_a_model_that_is_not_there_is_named_before_anything_is_written(workspace, make_run, tmp_path) -> None:
    make_run("toys-1")
    with pytest.raises(ConfigError, match="toys-9") as caught:
        compare(workspace, ("toys-1", "toys-9"), tmp_path / "out")
    assert "toys-1" in caught.value.hint
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        compare(workspace, ("toys-1", "toys-9"), tmp_path / "file" / "out")
