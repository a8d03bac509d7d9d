"""What the page of a run tells: the stages, the verdict, and of a failure the reason and the remedy first."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from made_report import HOSTILE, Made, made_clips, made_dataset, made_evaluation, made_run
from prefect.states import Failed

from flows.retrain_flow import retrain
from tasks import failures, showing, story
from tasks.sheets import MOST_BYTES, newest_sheet, samples_page, sheet_jpeg, showing_samples
from tasks.story import Story, telling
from vgan.config import RegisterConfig
from vgan.errors import ConfigError, GateFailedError, ResumableError, VganError
from vgan.media.encode import contact_sheet, png_bytes
from vgan.records import IngestReport, ModelVersion
from vgan.storage import write_atomic
from vgan.workspace import RunFolder, Workspace

Sent = list[tuple[str, str]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """(Markdown, description) of every page that Prefect is given, the last state of it last."""
    told: Sent = []
    monkeypatch.setattr(showing.Page, "write", lambda page, text, description: told.append((text, description)))
    return told


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("told") / "workspace")


@pytest.fixture(scope="module")
def made(workspace: Workspace) -> Made:
    """Not to be changed: a run with the sheets that its training drew."""
    dataset = made_dataset()
    run = made_run(dataset)
    folder = workspace.run(run.run)
    for name in ("step-00000020", "step-00000040", "contact-sheet"):
        write_atomic(folder.samples / f"{name}.png", png_bytes(contact_sheet(made_clips(12))))
    return Made(folder, run, dataset, made_evaluation(dataset, run))


def ingest_report(**fields: Any) -> IngestReport:
    plain = {
        "name": "toys", "manifest": "", "dataset_digest": "d", "number": 3, "unchanged": False, "videos_accepted": 5,
        "videos_rejected": 2, "videos_unchanged": 7, "videos_dropped": 0, "videos_relabelled": 0, "near_duplicates": 0,
        "clips_train": 1240, "clips_heldout": 60, "clips_new": 30, "left_out": {}, "shards": 1, "frames_decoded": 9,
        "seconds": 1.0, "rejections": (),
    }  # fmt: skip
    return IngestReport.model_validate(plain | fields)


def version(made: Made, **fields: Any) -> ModelVersion:
    plain = {
        "model_name": "toys", "version": "4", "run": made.run.run, "weights_sha256": "w", "alias": "champion",
        "champion": True, "unchanged": False, "outcome": "promoted", "verdict": "It beats the champion.",
        "model_uri": "models:/toys/4", "mlflow_run_id": "", "tracking_uri": "sqlite:///x",
    }  # fmt: skip
    return ModelVersion.model_validate(plain | fields)


def whole(workspace: Workspace, made: Made, *, unchanged: bool = False, **fields: Any) -> Story:
    with telling(str(workspace.root), "toys") as told:
        told.ingested(ingest_report(unchanged=unchanged))
        told.trained(made.run, unchanged)
        told.evaluated(made.evaluation, unchanged)
        told.registered(version(made, unchanged=unchanged, **fields))
    return told


def rows(markdown: str) -> dict[str, list[str]]:
    """Cells of the stage table by stage."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells[2:]}


def test_the_page_is_there_from_the_beginning_and_says_which_stage_runs(
    workspace: Workspace, made: Made, sent: Sent
) -> None:
    whole(workspace, made)
    states = [[state for state, *_ in rows(text).values()] for text, _ in sent]
    assert states == [[*["done"] * n, *(["running"] if n < 4 else []), *["not begun"] * (3 - n)] for n in range(5)]
    assert sent[0][1] == "toys: ingest is running"


def test_the_story_has_every_stage_the_verdict_and_a_small_picture(
    workspace: Workspace, made: Made, sent: Sent
) -> None:
    told = whole(workspace, made)
    text, description = sent[-1]
    assert description == "Promoted: toys version 4 carries @champion"
    assert text.startswith(f"## {description}")
    table = rows(text)
    assert list(table) == ["ingest", "train", "evaluate", "register"]
    assert all(row[1].endswith(" s") for row in table.values())
    assert "1,240 training clips" in table["ingest"][2] and "2 videos rejected" in table["ingest"][2]
    assert made.run.run in table["train"][2] and "models:/toys/4" in table["register"][2]
    assert "**Verdict:**\n\n* It beats the champion.\n" in text
    assert str(made.folder.report) in text and "](http" not in text, "no server of MLflow, no link"
    assert "](data:image/jpeg;base64," in text and len(text) < 2 * MOST_BYTES
    report = told.report()
    assert report.stages == dict.fromkeys(story.STAGES, "done") and set(report.seconds) == set(story.STAGES)
    state: Any = told.ended()
    assert state.is_completed() and state.message == description


def test_what_was_there_already_is_said_to_be_reused(workspace: Workspace, made: Made, sent: Sent) -> None:
    told = whole(workspace, made, unchanged=True)
    text, description = sent[-1]
    assert description.startswith("Nothing to do: version 3 of") and text.startswith(f"## {description}")
    assert all(row[0] == "unchanged" and "reused" in row[2] for row in rows(text).values())
    assert set(told.report().stages.values()) == {"unchanged"}


@pytest.mark.parametrize(
    ("error", "headline", "state"),
    [
        (ResumableError(f"killed {HOSTILE}.", hint="Run it again."), "Failed in train", "**failed**"),
        (RuntimeError(f"what {HOSTILE}"), "Failed in train", "**failed**"),
        (GateFailedError("refused.", hint="Train longer."), "Refused: not registered", "**failed**"),
        (KeyboardInterrupt(), "Stopped in train", "stopped"),
    ],
)
def test_a_run_that_ends_half_way_says_why_first_and_what_was_done(
    workspace: Workspace, sent: Sent, error: BaseException, headline: str, state: str
) -> None:
    with pytest.raises(type(error)), telling(str(workspace.root), "toys") as told:
        told.ingested(ingest_report())
        raise error
    text, _ = sent[-1]
    assert text.startswith(f"## {headline}\n")
    assert [row[0] for row in rows(text).values()] == ["done", state, "not begun", "not begun"]
    assert "<" not in text.replace("\\<", "") and "](http" not in text
    if isinstance(error, VganError):
        assert text.index("What to do:** " + error.hint[:5]) < text.index("| stage |")


def test_the_flows_state_begins_with_the_reason_and_its_page_with_the_remedy(sent: Sent) -> None:
    error = ConfigError("no dataset 'nobody'.", hint="Run `vgan ingest` first.")
    error.add_note("All that it said: /runs/x/train.log")

    @failures.explained
    def body() -> None:
        raise error

    state: Any = body()
    assert state.message == "no dataset 'nobody'. Run `vgan ingest` first."
    assert isinstance(state, type(Failed())) and state.is_failed()
    ((text, description),) = sent
    places = [text.index(part) for part in ("no dataset", "What to do:", "Exit code", "All that it said")]
    assert places == sorted(places) and text.startswith("## no dataset")
    assert "for this: 2" in text and description.startswith("Why it failed: no dataset")


def test_an_error_that_is_not_ours_stays_as_it_is_and_is_shown_too(sent: Sent) -> None:
    @failures.explained
    def body() -> None:
        raise LookupError(HOSTILE)

    with pytest.raises(LookupError):
        body()
    assert sent[0][0].startswith("## LookupError: ") and "<" not in sent[0][0].replace("\\<", "")


def test_the_form_still_sees_the_flows_own_parameters() -> None:
    parameters = inspect.signature(retrain.fn).parameters
    assert "RegisterConfig" in str(parameters["register_config"].annotation)
    assert parameters["register_config"].default == RegisterConfig()
    assert set(retrain.parameters.properties) == set(parameters)


def test_one_page_is_written_over_and_a_server_that_is_away_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []
    away = iter([True, False])

    def create(markdown: str, **named: Any) -> object:
        if next(away, False):
            raise ConnectionError("away")
        calls.append(("create", named["key"]))
        return made

    class Client:
        def update_artifact(self, artifact: object, update: Any) -> None:
            calls.append((update.data, artifact))

    made = uuid4()
    monkeypatch.setattr(showing, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(showing, "create_markdown_artifact", create)
    monkeypatch.setattr(showing, "get_client", lambda **_: Client())
    page = showing.Page("told")
    page.show("one", "d")
    page.show("two", "d")
    assert calls == [("create", "told"), ("two", made)]

    def never(*arguments: object, **named: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(showing, "create_markdown_artifact", never)
    showing.Page("told").show("three", "d")


def test_a_sheet_of_any_size_becomes_a_small_picture(workspace: Workspace, made: Made, tmp_path: Path) -> None:
    newest = newest_sheet(made.folder)
    assert newest is not None and newest.name == "step-00000040.png"
    text, said = samples_page(newest)
    assert said == "Samples at step 40" and "data:image/jpeg;base64," in text
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    write_atomic(tmp_path / "step-1.png", png_bytes(noise))
    jpeg = sheet_jpeg(tmp_path / "step-1.png")
    assert jpeg is None or len(jpeg) <= MOST_BYTES
    smooth = np.zeros((600, 800, 3), np.uint8)
    write_atomic(tmp_path / "step-2.png", png_bytes(smooth))
    assert 0 < len(sheet_jpeg(tmp_path / "step-2.png") or b"") <= MOST_BYTES
    (tmp_path / "step-3.png").write_bytes(b"no picture")
    assert sheet_jpeg(tmp_path / "step-3.png") is None


def test_the_newest_sheet_is_shown_even_of_the_shortest_training(tmp_path: Path, made: Made, sent: Sent) -> None:
    folder = RunFolder(tmp_path)
    sheet = newest_sheet(made.folder)
    assert sheet is not None
    with showing_samples(folder):
        write_atomic(folder.samples / "step-00000007.png", sheet.read_bytes())
    assert [said for _, said in sent] == ["Samples at step 7"]
    write_atomic(folder.record, b"{}")
    with showing_samples(folder):
        pass
    assert len(sent) == 1, "a run that had finished before draws nothing"


def test_links_lead_to_a_server_of_mlflow_and_never_hold_a_password(
    workspace: Workspace, made: Made, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.tracking import links

    class Api:
        def get_run(self, run: str) -> Any:
            return type("Run", (), {"info": type("Info", (), {"experiment_id": "7"})})

    ask: Callable[..., Any] = lambda workspace: Api()  # noqa: E731
    monkeypatch.setattr(links, "client", ask)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary@mlflow.example:5000/")
    whole(workspace, made, mlflow_run_id="r1")
    text, _ = sent[-1]
    base = "http://mlflow.example:5000/#"
    assert f"({base}/models/toys/versions/4)" in text and f"({base}/experiments/7/runs/r1)" in text
    assert f"({base}/experiments/7/runs/r1/artifacts/report.html)" in text
    assert "canary" not in text
