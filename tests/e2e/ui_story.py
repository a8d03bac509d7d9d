"""What a person does of an evening, by clicking: retrain with other settings, cancel, retry, and look at the model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prefect_pages import PrefectPages
from served import checkpoints, processes_of, standing_still, wait_for, wait_until_it_trains
from watched import Watched
from windows import Shots

NAME = "shapes"
PROMISED_SECONDS = 15.0  # from the click on Cancel to the end of the training
BUDGET = "30s"
# Where the window waits: the graph of a run that is under way is drawn anew all the time, which takes half a core.
AWAY = "about:blank"


@dataclass
class Story:
    """What was seen on the way; each part of it is a promise that a test holds against it."""

    watched: Watched
    pages: PrefectPages
    shots: Shots
    run: str = ""
    address: str = ""  # of the run's page
    parameters: dict[str, Any] = field(default_factory=dict)  # that the server got from the form
    shown: dict[str, str] = field(default_factory=dict)  # text of the run's page, by tab, while it trained
    progress: list[float] = field(default_factory=list)  # of the training, as the artifact said it, at two times
    graph: bytes = b""  # picture of the run's graph while it trained
    checkpoint: int = 0  # steps of the newest checkpoint before the click on Cancel
    stopped_at: int = 0  # steps of the newest one after it
    seconds: float = 0.0  # from the click on Cancel until the training had ended
    bound: float = 0.0  # how many they might be
    left: list[str] = field(default_factory=list)  # processes that were there when the run was cancelled
    before: dict[str, tuple[int, int]] = field(default_factory=dict)  # the dataset's files when the run was cancelled

    @property
    def root(self) -> Path:
        return self.watched.root


def fill_in(story: Story, videos: Path) -> None:
    """From the front page to a run with other parameters than the deployment's."""
    pages, schema = story.pages, story.watched.ask("/deployments/name/retrain/nightly")["parameter_openapi_schema"]
    pages.deployment("retrain", "nightly")
    story.shots.take("deployment")
    form = pages.form(schema)
    form.write(videos, "videos")
    form.write(NAME, "name")
    for name, value in (("frames", 8), ("height", 32), ("width", 32)):
        form.write(value, "ingest_config", name)
    form.choose("folder", "ingest_config", "labels")
    form.switch("ingest_config", "exclude_synthetic")
    form.choose("small", "train_config", "preset")
    form.choose("tiny", "train_config", "preset")
    form.write(BUDGET, "train_config", "budget")
    form.write(1, "train_config", "threads")
    form.choose("cpu", "train_config", "device")
    form.switch("train_config", "deterministic")
    form.write(16, "evaluate_config", "clips")
    form.write(20, "evaluate_config", "bootstrap")
    # So that the picture begins here, and shows no folder of this machine.
    form.field("train_config", "preset").evaluate("part => part.parentElement.scrollIntoView()")
    story.shots.take("form")
    story.run = form.submit()
    story.address = pages.page.url
    story.parameters = story.watched.read(story.run)["parameters"]


def watch(story: Story) -> None:
    """See it train and its progress grow, and look at the graph, the tasks and the artifacts; opens the menu."""
    story.pages.page.goto(AWAY)
    wait_until_it_trains(story.root, story.run)
    story.progress.append(wait_for(lambda: _progress(story)))
    story.progress.append(wait_for(lambda: (now := _progress(story)) > story.progress[0] and now))
    # So that it is in its middle on any machine, however long the pages take.
    with standing_still(story.run):
        story.pages.page.goto(story.address)
        story.pages.state("Running").wait_for()
        for tab, word in (("Subflow Runs", "ingest"), ("Task Runs", "train"), ("Artifacts", "train-progress")):
            panel = story.pages.tab(tab)
            panel.get_by_text(word).first.wait_for()
            story.shown[tab] = panel.inner_text()
            story.shots.take(f"run-{tab.split()[0].lower()}")
        story.graph = story.pages.page.locator("canvas").first.screenshot(animations="disabled")
        story.checkpoint = _steps(story.root)
        story.pages.ask("Cancel")
        story.shots.take("cancel")


def _progress(story: Story) -> float:
    found = story.watched.ask(
        "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["train-progress"]}}, "limit": 1}
    )
    return float(found[0]["data"]) if found else 0.0


def cancel(story: Story) -> None:
    """Say yes to Cancel while it trains, and wait until all has ended."""
    # So many times slower than alone is a process on this machine now.
    slowness = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    story.bound = PROMISED_SECONDS * slowness
    pressed = time.monotonic()
    story.pages.say("Cancel Flow Run", "Cancelling|Cancelled")
    wait_for(lambda: not training_in(story.root), lambda: training_in(story.root), seconds=4 * story.bound)
    story.seconds = time.monotonic() - pressed
    story.pages.state("Cancelled").wait_for()
    with suppress(AssertionError):
        wait_for(lambda: not processes_of(story.run), seconds=60)
    # The worker closes the cancellation a while later, and would cancel what is retried before.
    wait_for(lambda: any("Cancelled flow run" in log.read_text() for log in story.watched.folder.glob("worker-*.log")))
    story.left = [*map(str, processes_of(story.run)), *training_in(story.root)]
    story.stopped_at = _steps(story.root)
    story.before = dataset_files(story.root)
    story.shots.take("cancelled")


def retry(story: Story) -> None:
    """Press Retry, and wait until the run is through."""
    story.pages.ask("Retry")
    story.pages.say("Retry", "AwaitingRetry|Late|Pending|Running|Retrying|Completed")
    story.pages.page.goto(AWAY)
    story.watched.finished(story.run)
    story.pages.page.goto(story.address)
    story.pages.state("Completed").wait_for()
    panel = story.pages.tab("Artifacts")
    panel.get_by_text("verdict").first.wait_for()
    story.shown["Completed"] = panel.inner_text()
    story.shots.take("completed")


@contextmanager
def seen(story: Story) -> Iterator[Story]:
    """When a step fails, keep what the window showed."""
    try:
        yield story
    except BaseException:
        story.shots.take("failed")
        raise


def training_in(root: Path) -> list[str]:
    """Commands of all processes that train in a workspace, whoever started them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if str(root) in command and "vgan.training" in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(command))
    return found


def _steps(root: Path) -> int:
    """Steps of the newest checkpoint."""
    return int(checkpoints(root)[-1].stem)


def dataset_files(root: Path) -> dict[str, tuple[int, int]]:
    """(inode, time) of what the ingest has committed: a file that is written again, to the same bytes, has others."""
    folder = root / "datasets" / NAME
    kept = [folder / "manifest.json", *folder.glob("shards/*.tar"), *folder.glob("versions/*.json")]
    return {str(path.relative_to(folder)): ((at := path.stat()).st_ino, at.st_mtime_ns) for path in sorted(kept)}


def steps_logged(root: Path) -> list[int]:
    """The steps of metrics.jsonl, in order."""
    (path,) = root.glob("runs/*/metrics.jsonl")
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]
