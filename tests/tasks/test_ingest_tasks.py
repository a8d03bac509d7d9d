"""Promises of the ingest stage's tasks: one ingest at a time, one progress for all, one event for a change."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from made_records import made_video

from flows import ingest_flow
from tasks import ingest, progress
from tasks.dataset_summary import literal, summary_markdown
from tasks.progress import WholeProgress, stage_progress
from vgan import storage
from vgan.config import IngestConfig
from vgan.data.inspection.summary import DatasetSummary, summarise
from vgan.data.manifest import new_version, write_batch
from vgan.data.planning.plan import PlannedBatch
from vgan.errors import ResumableError, StorageError
from vgan.records import Batch, IngestReport, Rejection
from vgan.workspace import Workspace

HOSTILE = "<script>alert('x')</script>|`**b**`[a](http://evil.example)\x1b[2J\n# no heading"
CONFIG = IngestConfig(frames=8, height=32, width=32, labels="folder", videos_per_batch=5)

HOLD = """
import sys
from pathlib import Path
from vgan.storage import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(workspace: Workspace, name: str) -> subprocess.Popen[str]:
    """A process that holds a dataset's lease until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(workspace.dataset(name).lease)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_ingest_waits_for_the_first_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 41: two ingests of a dataset at once never interleave: the second begins when the first has ended."""
    with holder(workspace, "toys") as first:
        entered, waiting = threading.Event(), threading.Event()
        monkeypatch.setattr(storage.time, "sleep", lambda seconds: waiting.set())

        def second() -> None:
            with ingest.only_ingest(workspace, "toys"):
                entered.set()

        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        assert not entered.is_set()
        first.communicate(timeout=30)
        thread.join(30)
        assert entered.is_set()
    assert not workspace.dataset("toys").lease.exists()


def test_an_ingest_that_waited_long_enough_says_who_holds_the_dataset(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 41: the error names the process, and the same command may be called again."""
    monkeypatch.setattr(ingest, "WAIT_SECONDS", -1.0)
    with holder(workspace, "toys") as first:
        with pytest.raises(ResumableError, match=f"process {first.pid}"), ingest.only_ingest(workspace, "toys"):
            pass
        first.communicate(timeout=30)


class Submitted:
    """Stands for the runner: notes how many futures are out, and ends a batch only when its result is asked for."""

    def __init__(self, failing: str = "") -> None:
        self.keys: list[str] = []
        self.out = self.most = 0
        self.failing = failing

    def submit(self, task: object, batch: dict[str, Any]) -> Any:
        self.keys.append(batch["place"].key)
        self.out += 1
        self.most = max(self.most, self.out)
        return _Result(self, batch["place"].key)


class _Result(Future[Any]):
    def __init__(self, task: Submitted, key: str) -> None:
        super().__init__()
        self.task, self.key = task, key

    def result(self, timeout: float | None = None) -> None:
        self.task.out -= 1
        if self.key == self.task.failing:
            raise StorageError("disk full")


def places(num: int) -> list[PlannedBatch]:
    return [PlannedBatch(key=f"{number:064x}", offset=0, size=1, videos=2) for number in range(num)]


def run_batches(num: int, task: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_flow, "batch_runner", lambda config: nullcontext(task))
    ingest_flow._ingest_batches("w", "toys", CONFIG, places(num))


def test_a_long_plan_is_submitted_a_few_batches_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Submitted()
    run_batches(1000, task, monkeypatch)
    assert task.keys == [place.key for place in places(1000)]
    assert task.out == 0
    assert task.most <= ingest_flow.SUBMITTED["threads"]


def test_a_batch_that_fails_for_good_ends_the_flow_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Submitted(failing=places(8)[7].key)
    with pytest.raises(StorageError):
        run_batches(1000, task, monkeypatch)
    assert len(task.keys) <= 8 + ingest_flow.SUBMITTED["threads"]


def test_parts_add_up_to_one_progress_of_the_whole() -> None:
    told: list[tuple[float, float, str]] = []
    whole = WholeProgress(lambda done, total, note: told.append((done, total, note)), 30)
    with whole.part("a", 10) as first:
        first(5, 20, "decoding")
        with whole.part("b", 20) as second:
            second(20, 20, "decoding")
        first(10, 20, "decoding")
    assert [(done, total) for done, total, _ in told] == [(2.5, 30), (22.5, 30), (22.5, 30), (25, 30), (30, 30)]
    assert told[1][2] == "22 of 30 videos, decoding"


def test_a_part_that_is_tried_again_is_not_counted_twice() -> None:
    told: list[float] = []
    whole = WholeProgress(lambda done, total, note: told.append(done), 10)
    with pytest.raises(StorageError), whole.part("a", 10) as sink:
        sink(9, 10, "")
        raise StorageError("disk full")
    with whole.part("a", 10) as sink:
        sink(1, 10, "")
    assert told == [9, 1, 10]


def test_parts_of_many_threads_end_at_the_total() -> None:
    told: list[float] = []
    whole = WholeProgress(lambda done, total, note: told.append(done), 400)

    def work(number: int) -> None:
        with whole.part(str(number), 50) as sink:
            for done in range(51):
                sink(done, 50, "")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told[-1] == 400
    assert told == sorted(told)


def test_a_server_that_hangs_does_not_hold_up_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 40: the work goes on while an update of its progress gets no answer."""
    asked, answer = threading.Event(), threading.Event()

    def hang(*arguments: object, **named: object) -> None:
        asked.set()
        answer.wait(60)

    monkeypatch.setattr(progress, "create_progress_artifact", hang)
    monkeypatch.setattr(progress, "CLOSING_SECONDS", 0.01)
    seen: list[float] = []
    monkeypatch.setattr(progress, "terminal", lambda stage: lambda done, total, note: seen.append(done))
    with stage_progress("ingest") as sink:
        assert asked.wait(30)
        for done in range(100):
            sink(done, 99, "")
    assert seen[-1] == 99
    assert not answer.is_set()
    answer.set()


def test_the_last_state_reaches_prefect_even_of_a_short_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []
    monkeypatch.setattr(progress, "create_progress_artifact", lambda value, **named: sent.append(value) or "id")
    monkeypatch.setattr(progress, "update_progress_artifact", lambda artifact, value, description: sent.append(value))
    with stage_progress("ingest") as sink:
        sink(1, 4, "")
        sink(4, 4, "")
    assert sent[-1] == 100.0


def report(**fields: Any) -> IngestReport:
    plain: dict[str, Any] = {
        "name": "toys", "manifest": "m", "dataset_digest": "d" * 64, "number": 2, "unchanged": False,
        "videos_accepted": 2, "videos_rejected": 1, "videos_unchanged": 0, "videos_dropped": 3,
        "videos_relabelled": 4, "near_duplicates": 0, "clips_train": 2, "clips_heldout": 0, "clips_new": 2,
        "left_out": {}, "shards": 0, "frames_decoded": 16, "seconds": 1.0, "rejections": (),
    }  # fmt: skip
    return IngestReport(**(plain | fields))


@pytest.fixture
def summary(workspace: Workspace) -> DatasetSummary:
    folder = workspace.dataset("toys")
    videos = [
        made_video("a" * 64, label=HOSTILE, licence=HOSTILE, left_out={HOSTILE: 2}),
        made_video("b" * 64, label="up", seconds=40.0, paths=(f"x.{HOSTILE}",)),
    ]
    lost = Rejection(path=HOSTILE, digest_sha256=None, reason=HOSTILE, detail=HOSTILE)
    batch = Batch(key="k", videos=tuple(videos), rejections=(lost,), shards=())
    dataset = new_version("toys", 2, CONFIG, [HOSTILE, "up"], [write_batch(folder, batch)])
    return summarise(folder, dataset)


def test_the_summary_shows_hostile_text_as_text(summary: DatasetSummary) -> None:
    """FAULTS 46: neither Markdown nor HTML takes a name of the data as anything but text."""
    text = summary_markdown(report(), summary)
    bare = re.sub(r"\\[^\w\s]", "", text)  # without what a backslash makes plain
    assert "<" not in bare
    assert "[a" not in bare
    assert "\x1b" not in text
    assert "# no heading" not in bare
    cells = [line.count("|") for line in bare.splitlines() if "alert" in line]
    assert cells
    assert set(cells) <= {3, 5}, "no cell was split in two"


def test_literal_text_is_itself_again_when_it_is_rendered() -> None:
    printable = HOSTILE.replace("\x1b", "").replace("\n", "")
    assert re.sub(r"\\([^\w\s])", r"\1", literal(printable)) == printable


def test_the_summary_says_what_was_done_and_draws_what_there_is(summary: DatasetSummary) -> None:
    text = summary_markdown(report(), summary)
    assert "| relabelled | 4 |" in text
    assert "2 new clips" in text
    rows = [line.split() for line in text.splitlines() if "█" in line]
    assert ["1", "to", "2", "█" * 24, "1"] in rows, "of the durations"
    assert ["30", "to", "60", "█" * 24, "1"] in rows


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(ingest, "emit_event", lambda **event: sent.append(event))
    return sent


def ingest_once(workspace: Workspace, videos: Path) -> IngestReport:
    root = str(workspace.root)
    with ingest.only_ingest(workspace, "toys"):
        plan = ingest.plan_ingest.fn(root, str(videos), "toys", CONFIG)
        for place in plan.batches:
            ingest.ingest_batch.fn(root, "toys", CONFIG, place)
        return ingest.commit_dataset.fn(root, "toys", CONFIG, plan)


def test_a_changed_version_is_told_once_and_an_unchanged_one_never(
    workspace: Workspace, shapes_videos: Path, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *arguments, **named: None)
    first = ingest_once(workspace, shapes_videos)
    assert [event["event"] for event in events] == [ingest.UPDATED]
    assert events[0]["resource"]["prefect.resource.id"] == "vgan.dataset.toys"
    told = {"name": "toys", "digest": first.dataset_digest, "number": 1, "new_clips": first.clips_new}
    assert events[0]["payload"] == told
    assert first.clips_new == first.clips_train + first.clips_heldout > 0
    again = ingest_once(workspace, shapes_videos)
    assert again.unchanged
    assert len(events) == 1


def test_a_commit_that_was_cut_after_its_manifest_tells_of_its_version_when_it_is_tried_again(
    workspace: Workspace, shapes_videos: Path, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *arguments, **named: None)
    root = str(workspace.root)
    plan = ingest.plan_ingest.fn(root, str(shapes_videos), "toys", CONFIG)
    for place in plan.batches:
        ingest.ingest_batch.fn(root, "toys", CONFIG, place)
    from vgan.data.versions import commit

    def cut(*arguments: object) -> None:
        raise StorageError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(commit, "clean_up", cut)
        with pytest.raises(StorageError, match="cut"):
            ingest.commit_dataset.fn(root, "toys", CONFIG, plan)
    assert workspace.dataset("toys").manifest.exists()
    assert events == []
    report = ingest.commit_dataset.fn(root, "toys", CONFIG, plan)
    assert [event["payload"]["digest"] for event in events] == [report.dataset_digest]
