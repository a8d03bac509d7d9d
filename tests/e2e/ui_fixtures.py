"""The evening of `ui_story`, one fixture a step, shared by all tests of a session: each step happens once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import find_browser
from prefect_pages import PrefectPages
from ui_story import Story, cancel, fill_in, retry, seen, watch
from watched import Watched
from windows import Shots, window


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Servers, a worker and an empty window."""
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine")
    folder = tmp_path_factory.mktemp("ui")
    with Watched(folder).started() as watched, window(found) as page:
        yield Story(watched, PrefectPages(page, watched.ui), Shots(page, folder / "screenshots"))


@pytest.fixture(scope="session")
def submitted(story: Story, shapes_videos: Path) -> Story:
    """A retraining with other settings was submitted."""
    with seen(story):
        fill_in(story, shapes_videos)
    return story


@pytest.fixture(scope="session")
def watched_run(submitted: Story) -> Story:
    """It trains, and was looked at."""
    with seen(submitted):
        watch(submitted)
    return submitted


@pytest.fixture(scope="session")
def cancelled(watched_run: Story) -> Story:
    """It was cancelled in the middle of its training."""
    with seen(watched_run):
        cancel(watched_run)
    return watched_run


@pytest.fixture(scope="session")
def retried(cancelled: Story) -> Story:
    """It was retried, and has registered its model."""
    with seen(cancelled):
        retry(cancelled)
    return cancelled
