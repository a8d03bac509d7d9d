"""MLflow's pages, clicked as a person does: from its front page to the files of the run behind a model."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page

STATE = "film => ({ready: film.readyState, at: film.currentTime, width: film.videoWidth, error: film.error?.message})"


class MlflowPages:
    """A walk through the pages of an MLflow server."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url

    def model(self, name: str) -> None:
        """From the front page to the page of a registered model."""
        page = self.page
        page.goto(self.url)
        page.get_by_role("button", name="Model training", exact=True).click()
        page.get_by_role("link", name="Model registry", exact=True).click()
        page.get_by_role("link", name=name, exact=True).first.wait_for()
        # MLflow greets everyone who comes for the first time.
        page.add_locator_handler(page.get_by_role("dialog"), _close)
        page.get_by_role("link", name=name, exact=True).first.click()

    def version(self, number: int) -> None:
        """From the page of a model to one of its versions."""
        self.page.get_by_role("link", name=f"Version {number}", exact=True).first.click()
        self.page.get_by_role("heading", name=f"Version {number}").wait_for()

    def files(self, run: str) -> None:
        """From the page of a version to the files of the run that it is from."""
        self.page.get_by_role("link", name=run, exact=True).first.click()
        self.page.get_by_role("tab", name="Artifacts").click()

    def film(self, folder: str, name: str) -> Locator:
        """Open a film among the files; returns the player."""
        for part in (folder, name):
            self.page.get_by_text(part, exact=True).first.click()
        film = self.page.locator("video").first
        film.wait_for()
        return film


def _close(greeting: Locator) -> None:
    greeting.get_by_role("button", name="Close").first.click()


def play(film: Locator) -> None:
    """Press the space bar on it: a film as small as ours has no room for the player's buttons."""
    film.focus()
    film.press("Space")


def state(film: Locator) -> dict[str, Any]:
    """How much of a film is there, where it stands, how wide its picture is, and what went wrong."""
    return film.evaluate(STATE)
