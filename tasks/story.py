"""The story of a whole run on its page in Prefect: which stage did what and how long, the verdict, and links."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from prefect.states import Completed

from tasks.dataset_summary import literal
from tasks.failures import reason, remedy
from tasks.register import HEADINGS
from tasks.sheets import sheet_markdown
from tasks.showing import Page
from vgan.errors import GateFailedError
from vgan.evaluation.report import summary
from vgan.progress import counted, duration
from vgan.records import Evaluation, IngestReport, ModelVersion, RetrainReport, TrainedRun
from vgan.workspace import Workspace

KEY = "retrain-summary"
STAGES = ("ingest", "train", "evaluate", "register")
CANCEL_SECONDS = 2.0  # that a run which is being stopped spends on its page

State = Literal["done", "unchanged"]


@dataclass(frozen=True)
class Told:
    """One line of the table."""

    state: str
    seconds: float | None
    result: str  # Markdown


class Story:
    """What the stages have done so far; each telling updates the page."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = name
        self.told: dict[str, Told] = {}
        self.page = Page(KEY)
        self._ingest: IngestReport | None = None
        self._trained: TrainedRun | None = None
        self._evaluation: Evaluation | None = None
        self._model: ModelVersion | None = None
        self._mark = time.monotonic()

    @property
    def stage(self) -> str:
        """The one under way; "" when all have ended."""
        return next((stage for stage in STAGES if stage not in self.told), "")

    def ingested(self, report: IngestReport) -> None:
        """The dataset has this version now."""
        self._ingest = report
        rejected = counted(report.videos_rejected, "video") + " rejected" if report.videos_rejected else ""
        news = [
            f"version {report.number}: {report.clips_train:,} training clips, {report.clips_heldout:,} held out",
            f"reused as it was, {counted(report.videos_unchanged, 'video')} known before"
            if report.unchanged
            else counted(report.clips_new, "new clip"),
        ]
        self._tell("ingest", report.unchanged, "; ".join([*news, *([rejected] if rejected else [])]))

    def trained(self, run: TrainedRun, unchanged: bool) -> None:
        """The run is finished."""
        self._trained = run
        what = f"{run.clips / 1000:,.1f} kclips in {duration(run.seconds)} on {run.device}"
        self._tell("train", unchanged, f"{'reused, trained before: ' if unchanged else ''}{what}; run `{run.run}`")

    def evaluated(self, evaluation: Evaluation, unchanged: bool) -> None:
        """The figures are there."""
        self._evaluation = evaluation
        # The beginning is enough: one of Prefect's interfaces does not wrap a cell, and the rest is with the figures.
        said = summary(evaluation).partition(". ")[0].partition(";")[0]
        self._tell("evaluate", unchanged, literal(f"reused: {said}" if unchanged else said))

    def registered(self, model: ModelVersion) -> None:
        """The gate has spoken."""
        self._model = model
        self._tell("register", model.unchanged, f"{'reused: ' if model.unchanged else ''}`{model.model_uri}`")

    def report(self) -> RetrainReport:
        """The same as a record, when all stages are done."""
        assert self._ingest and self._trained and self._evaluation and self._model, "a stage is not done"
        states: dict[str, State] = {
            stage: "unchanged" if told.state == "unchanged" else "done" for stage, told in self.told.items()
        }
        return RetrainReport(
            ingest=self._ingest,
            trained=self._trained,
            evaluation=self._evaluation,
            model=self._model,
            stages=states,
            seconds={stage: round(told.seconds or 0.0, 2) for stage, told in self.told.items()},
        )

    def ended(self) -> RetrainReport:
        """What the flow returns: the report in a state whose message is the headline; its caller gets the report."""
        state: Any = Completed(message=self._headline(), data=self.report())
        return state

    def _tell(self, stage: str, unchanged: bool, result: str) -> None:
        now = time.monotonic()
        self.told[stage] = Told("unchanged" if unchanged else "done", now - self._mark, result)
        self._mark = now
        self.show()

    def show(self, error: BaseException | None = None) -> None:
        """Bring the page up to date; with the error that ends the run."""
        stage = self.stage
        if error is None:
            self.page.show(self.markdown(), self._headline() if not stage else f"{self.name}: {stage} is running")
        elif isinstance(error, Exception):
            self.page.show(self.markdown(error), f"{self.name}: {stage or 'the run'} failed")
        else:
            self.page.show(self.markdown(error), f"{self.name}: stopped in {stage or 'the end'}", CANCEL_SECONDS)

    def markdown(self, error: BaseException | None = None) -> str:
        """Headline, what was wrong and what to do, the table, the verdict, links and a picture."""
        parts = [f"## {self._headline(error)}"]
        if isinstance(error, Exception):
            parts += [f"**{literal(reason(error))}**", f"**What to do:** {literal(remedy(error))}"]
        elif error is not None:
            parts.append("Start it again, or press Retry, and it goes on: a training from its newest checkpoint.")
        parts.append(self._table(error))
        parts += [f"**Warning:** {literal(warning)}" for warning in (self._trained.warnings if self._trained else ())]
        if self._model:
            # A line for each sentence: a long paragraph leaves the page of one of Prefect's interfaces.
            said = re.split(r"(?<=\.) (?=[A-Z])", self._model.verdict)
            parts += ["**Verdict:**", "\n".join(f"* {literal(sentence)}" for sentence in said)]
        parts.append(self._links())
        if self._model and (sheet := sheet_markdown(self.workspace.run(self._model.run).contact_sheet, "samples")):
            parts += ["Generated clips, one a row, each read from left to right:", sheet]
        return "\n\n".join(part for part in parts if part)

    def _headline(self, error: BaseException | None = None) -> str:
        stage = self.stage
        if isinstance(error, GateFailedError):
            return HEADINGS["refused"]
        if error is not None:
            return f"{'Failed' if isinstance(error, Exception) else 'Stopped'} in {stage or 'its last step'}"
        if not self._model:
            return f"Running: {stage}"
        if said := self.report().nothing_to_do:
            return said
        return f"{HEADINGS[self._model.outcome]}: {self._held()}"

    def _held(self) -> str:
        assert self._model
        held = "carries" if self._model.champion else "does not carry"
        return f"{self._model.model_name} version {self._model.version} {held} @{self._model.alias}"

    def _table(self, error: BaseException | None) -> str:
        lines = ["| stage | state | time | result |", "|---|---|---|---|"]
        for stage in STAGES:
            told = self.told.get(stage)
            if told is None and stage == self.stage:
                state = "running" if error is None else "**failed**" if isinstance(error, Exception) else "stopped"
                told = Told(state, None if error is None else time.monotonic() - self._mark, "")
            told = told or Told("not begun", None, "")
            time_taken = "" if told.seconds is None else took(told.seconds)
            lines.append(f"| {stage} | {told.state} | {time_taken} | {told.result} |")
        return "\n".join(lines)

    def _links(self) -> str:
        if not self._model:
            return ""
        from tasks.tracking.links import run_links

        links = [f"[{text}]({url})" for text, url in run_links(self.workspace, self._model).items()]
        report = self.workspace.run(self._model.run).report
        lines = [*links, f"Report on the machine that ran this: `{report}`"]
        return "\n".join(["**Where to look:**", "", *(f"* {line}" for line in lines)])


@contextmanager
def telling(root: str, name: str) -> Iterator[Story]:
    """Show the story of the block's run, from its beginning to its end, however it ends."""
    story = Story(Workspace.open(root), name)
    story.show()
    try:
        yield story
    except BaseException as error:
        story.show(error)
        raise


def took(seconds: float) -> str:
    """A duration that may be short."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
