"""Prefect's pages, clicked as a person does: the form of a deployment, the page of a run, its buttons."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as NotInTime

# The part of a form that stands under a label.
FIELD = (
    "xpath=.//label[normalize-space()='{0}' or normalize-space()='{0} (Optional)']"
    "/ancestor::div[following-sibling::fieldset][1]/following-sibling::fieldset"
)
TRIES = 12


class Form:
    """The form of a custom run; a field is named as the flow's parameter, such as ("train_config", "budget").

    Args:
        page: where it is open.
        schema: of the deployment's parameters, which says what the labels are.
    """

    def __init__(self, page: Page, schema: dict[str, Any]) -> None:
        self.page, self.schema = page, schema

    def label(self, *names: str) -> list[str]:
        """The labels that lead to a field, from the outside in."""
        labels, node = [], self.schema
        for name in names:
            found = node["properties"][name]
            labels.append(found.get("title", name))
            kind = found.get("$ref") or found.get("allOf", [{}])[0].get("$ref", "")
            node = self.schema["definitions"].get(kind.rpartition("/")[2], {})
        return labels

    def field(self, *names: str) -> Locator:
        found = self.page.locator("form").first
        for label in self.label(*names):
            found = found.locator(FIELD.format(label)).first
        return found

    def write(self, value: object, *names: str) -> None:
        """A text or a number; of a field that may be empty, its kind is chosen first."""
        field = self.field(*names)
        field.wait_for()
        if field.get_by_role("tab").count():
            field.get_by_role("tab").first.click()
        field.locator("input, textarea").first.fill(str(value))

    def choose(self, value: str, *names: str) -> None:
        self.field(*names).get_by_role("button").first.click()
        self.page.get_by_role("option", name=value, exact=True).click()

    def switch(self, *names: str) -> None:
        self.field(*names).get_by_role("switch").click()

    def submit(self) -> str:
        """Send it and open the page of the run; returns the run's id."""
        button = self.page.get_by_role("button", name="Submit", exact=True)
        note = self.page.get_by_role("link", name="View run").first
        until_it_took(button.click, note)
        run = (note.get_attribute("href") or "").rpartition("/")[2]
        self.page.locator(f"main a[href$='{run}']").first.click()
        self.page.wait_for_url(re.compile(run))
        return run


def until_it_took(click: Callable[[], object], sign: Locator) -> None:
    """Click until the page shows that it has worked; a server that finds its database locked says no, now and then."""
    for _ in range(TRIES):
        click()
        try:
            sign.wait_for(timeout=10_000)
        except NotInTime:
            continue
        return
    raise AssertionError("the page never took the click")


class PrefectPages:
    """A walk through the pages of a Prefect server, from its front page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url

    def deployment(self, flow: str, name: str) -> None:
        page = self.page
        page.goto(self.url)
        page.get_by_role("link", name="Deployments").first.click()
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=flow, exact=True))
        row.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).wait_for()

    def form(self, schema: dict[str, Any]) -> Form:
        """From the page of a deployment to the form of a custom run."""
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.page.get_by_role("button", name="Submit", exact=True).wait_for()
        return Form(self.page, schema)

    def tab(self, name: str) -> Locator:
        """Open a tab of the page of a run; returns what it shows."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        return self.page.get_by_role("tabpanel", name=name)

    def ask(self, item: str) -> None:
        """Choose from the menu of the run, which asks whether that is meant."""
        self.page.get_by_role("main").get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()
        self.page.get_by_role("alertdialog").wait_for()

    def say(self, button: str, state: str) -> None:
        """Say yes, and see the run in one of the states that come of it."""
        yes = self.page.get_by_role("alertdialog").get_by_role("button", name=button, exact=True)
        until_it_took(lambda: yes.is_visible() and yes.click(), self.state(state))

    def state(self, pattern: str) -> Locator:
        """The state that stands under the name of the run, once it is one of these."""
        return self.page.get_by_role("main").get_by_text(re.compile(f"^({pattern})$")).first
