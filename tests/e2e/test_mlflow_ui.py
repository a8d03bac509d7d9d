"""MLflow's UI in a real browser: the registered model is found by clicking, and its sample plays."""

from __future__ import annotations

import json

import pytest
from mlflow_pages import MlflowPages, play, state
from served import wait_for
from ui_story import NAME, Story, seen

pytest_plugins = ("ui_fixtures",)
pytestmark = pytest.mark.timeout(1200)  # on a machine that is busy


def test_the_registered_models_sample_plays(retried: Story) -> None:
    """The model that the retried run registered; its version leads to the run, whose samples are films."""
    (record,) = retried.root.glob("runs/*/run.json")
    page = retried.pages.page
    mlflow = MlflowPages(page, retried.watched.mlflow)
    with seen(retried):
        mlflow.model(NAME)
        mlflow.version(1)
        assert page.get_by_text("champion").first.is_visible()
        retried.shots.take("model")
        mlflow.files(json.loads(record.read_text())["run"])
        film = mlflow.film("samples", "seed-0.mp4")
        wait_for(lambda: state(film)["ready"] >= 2, lambda: state(film))
        play(film)
        wait_for(lambda: state(film)["at"] > 0, lambda: state(film))
        retried.shots.take("sample")
        assert state(film)["width"] == 32
        assert state(film)["error"] is None
