import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data.made_plans import CONFIG, carry_out, opened_below, write_files
from made_records import digest_of_name

from vgan.config import IngestConfig
from vgan.data.manifest import current_version, read_batches
from vgan.data.planning.plan import IngestPlan, Source, read_batch_plans
from vgan.data.planning.planner import plan_ingest
from vgan.errors import BadInputError, ConfigError
from vgan.remote import RemoteFile
from vgan.workspace import Workspace

FOLDERS = CONFIG.model_copy(update={"labels": "folder"})


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files made a moment ago count as settled, except where a test says otherwise."""
    monkeypatch.setattr("vgan.data.files.sources.RACY_NS", 0)


def plan(workspace: Workspace, videos: Path | str, config: IngestConfig = CONFIG, **changes: object) -> IngestPlan:
    return plan_ingest(workspace, videos, "made", config.model_copy(update=changes))


def again(workspace: Workspace, videos: Path | str, config: IngestConfig = CONFIG, **changes: object) -> IngestPlan:
    """Plan, carry out, and check that nothing is left to do."""
    made = plan(workspace, videos, config, **changes)
    carry_out(workspace, made)
    after = plan(workspace, videos, config, **changes)
    assert (after.batches, after.edits) == ((), ())
    return made


def sources(workspace: Workspace, made: IngestPlan) -> list[list[Source]]:
    return [list(batch.sources) for batch in read_batch_plans(workspace.dataset("made"), made.batches)]


def planned(workspace: Workspace, made: IngestPlan) -> list[str]:
    return sorted(path for batch in sources(workspace, made) for source in batch for path in source.paths)


def edits(made: IngestPlan) -> dict[str, Source | None]:
    return {edit.digest_sha256: edit.source for edit in made.edits}


def names(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    folder = workspace.dataset("made")
    version = current_version(folder)
    assert version
    return {video.digest_sha256: video.paths for batch in read_batches(folder, version) for video in batch.videos}


def test_new_contents_are_planned_in_batches_by_digest(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(10)), "copy/3.mp4")
    made = plan(workspace, videos)
    parts = sources(workspace, made)
    assert [len(part) for part in parts] == [4, 4, 2] == [place.videos for place in made.batches]
    flat = [source.digest_sha256 for part in parts for source in part]
    assert flat == sorted(digest_of_name(f"{number}.mp4") for number in range(10))
    [double] = [source for part in parts for source in part if len(source.paths) > 1]
    assert (double.paths, double.size_bytes, double.label) == (("3.mp4", "copy/3.mp4"), 5, None)
    assert (made.base, made.origin, made.kept, made.unchanged) == (None, None, (), 0)
    assert plan(workspace, videos) == made, "the same plan again, and again"


def test_only_new_files_are_opened(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", *(f"{number // 50}/{number}.mp4" for number in range(300)))
    with opened_below(videos) as opened:
        first = again(workspace, videos)
    assert len(opened) == 300 and first.unchanged == 0
    new = [f"new/{number}.mp4" for number in range(1000, 1010)]
    write_files(videos, *new)
    with opened_below(videos) as opened:
        made = plan(workspace, videos)
    assert sorted(opened) == sorted(new) == planned(workspace, made)
    assert made.unchanged == 300
    folder = workspace.dataset("made")
    with opened_below(folder.shards) as opened:
        plan(workspace, videos)
    assert opened == [], "shards that were checked are not read again"


KILLED = """
import os, sys
from vgan.config import IngestConfig
from vgan.data.files import hashing, sources
from vgan.data.planning.planner import plan_ingest
from vgan.workspace import Workspace
hashing.WINDOW, sources.ROWS_A_TRANSACTION, sources.RACY_NS = 10, 50, 0
def progress(done, total, note):
    if done >= 120:
        os.kill(os.getpid(), 9)
plan_ingest(Workspace.open(sys.argv[1]), sys.argv[2], "made", IngestConfig(), progress=progress)
"""


def test_a_killed_plan_goes_on_with_the_hashes_that_it_had(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(200)))
    child = subprocess.run([sys.executable, "-c", KILLED, workspace.root, videos], check=False)
    assert child.returncode == -9 and not workspace.dataset("made").plan.exists()
    with opened_below(videos) as opened:
        made = plan(workspace, videos)
    assert len(planned(workspace, made)) == 200
    assert len(opened) == 100


def test_a_file_written_just_now_is_hashed_again(workspace, tmp_path, monkeypatch):
    """FAULTS 43: a time stamp that may still serve another content proves nothing."""
    monkeypatch.setattr("vgan.data.files.sources.RACY_NS", 10**12)
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    os.utime(videos / "a.mp4", (0, 0))
    os.utime(videos / "b.mp4", (4_000_000_000, 4_000_000_000))
    again(workspace, videos)
    with opened_below(videos) as opened:
        plan(workspace, videos)
    assert sorted(opened) == ["a.mp4", "b.mp4"]
    monkeypatch.setattr("vgan.data.files.sources.RACY_NS", 0)
    plan(workspace, videos)
    with opened_below(videos) as opened:
        plan(workspace, videos)
    assert opened == [], "whatever year the file says it is of"


def test_a_moved_file_is_an_edit_and_is_not_planned(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a/x.mp4", "a/y.mp4", "b/z.mp4")
    again(workspace, videos, FOLDERS)
    (videos / "a/x.mp4").rename(videos / "b/renamed.mp4")
    made = again(workspace, videos, FOLDERS)
    assert made.batches == () and made.unchanged == 3
    [source] = edits(made).values()
    assert source and (source.digest_sha256, source.paths, source.label) == (
        digest_of_name("x.mp4"),
        ("b/renamed.mp4",),
        "b",
    )
    assert names(workspace)[digest_of_name("x.mp4")] == ("b/renamed.mp4",)


def test_a_copy_adds_a_name_and_its_end_takes_it_away(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "b/x.mp4", "b/y.mp4")
    again(workspace, videos, FOLDERS)
    write_files(videos, "a/x.mp4")
    [source] = edits(again(workspace, videos, FOLDERS)).values()
    assert source and (source.paths, source.label) == (("a/x.mp4", "b/x.mp4"), "a"), "the lowest name gives the label"
    (videos / "a/x.mp4").unlink()
    [source] = edits(again(workspace, videos, FOLDERS)).values()
    assert source and (source.paths, source.label) == (("b/x.mp4",), "b")


def test_a_video_whose_files_have_gone_leaves_or_stays_as_asked(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    again(workspace, videos)
    (videos / "a.mp4").unlink()
    assert plan(workspace, videos, missing="keep").edits == ()
    assert plan(workspace, videos, missing="keep").edits == (), "also the second time"
    made = again(workspace, videos, missing="drop")
    assert edits(made) == {digest_of_name("a.mp4"): None}
    assert set(names(workspace)) == {digest_of_name("b.mp4"), digest_of_name("c.mp4")}
    write_files(videos, "a.mp4")
    assert planned(workspace, plan(workspace, videos)) == ["a.mp4"], "it comes back as a new one"


def test_a_plan_that_was_not_carried_out_forgets_nothing(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    again(workspace, videos)
    (videos / "a.mp4").unlink()
    (videos / "b.mp4").write_text("another content")
    wanted = {digest_of_name("a.mp4"): None, digest_of_name("b.mp4"): None}
    for _ in range(3):
        made = plan(workspace, videos)
        assert edits(made) == wanted and planned(workspace, made) == ["b.mp4"]


def test_a_folder_that_looks_empty_stops_the_run(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(5)))
    again(workspace, videos)
    away = tmp_path / "away"
    away.mkdir()
    for number in range(3):
        (videos / f"{number}.mp4").rename(away / f"{number}.mp4")
    before = workspace.dataset("made").plan.read_bytes()
    with pytest.raises(
        BadInputError, match=r"3 of the 5 known videos \(60%\).*\.mp4.*--missing keep.*--max-missing 0.6"
    ):
        plan(workspace, videos)
    assert workspace.dataset("made").plan.read_bytes() == before
    assert len(edits(plan(workspace, videos, max_missing=0.6))) == 3
    assert plan(workspace, videos, missing="keep").edits == ()
    for number in range(3, 5):
        (videos / f"{number}.mp4").rename(away / f"{number}.mp4")
    with pytest.raises(BadInputError, match=r"5 of the 5 known videos \(100%\)"):
        plan(workspace, videos)
    for path in away.iterdir():
        path.rename(videos / path.name)
    made = plan(workspace, videos)
    assert (made.edits, made.batches, made.unchanged) == ((), (), 5), "a folder that is back is as it was"


def test_a_replaced_file_is_a_new_video_and_no_missing_one(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    again(workspace, videos)
    for name in ("a.mp4", "b.mp4"):
        (videos / name).write_text(f"a better {name}")
    made = again(workspace, videos, max_missing=0.0)
    assert edits(made) == {digest_of_name("a.mp4"): None, digest_of_name("b.mp4"): None}


def test_a_folder_that_cannot_be_read_loses_no_video(workspace, tmp_path, monkeypatch):
    videos = write_files(tmp_path / "videos", "good/a.mp4", "bad/b.mp4", "bad/c.mp4")
    again(workspace, videos)
    scandir = os.scandir

    def failing(place: str):
        if str(place).endswith("/bad"):
            raise OSError(5, "Input/output error")
        return scandir(place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        made = plan(workspace, videos)
    assert (made.edits, made.batches) == ((), ())
    assert [(item.path, item.reason) for item in made.rejections] == [("bad", "unreadable")]


def test_two_folders_feed_one_dataset_and_take_nothing_from_each_other(workspace, tmp_path):
    one = write_files(tmp_path / "one", "same.mp4", "a.mp4", "both.mp4")
    two = write_files(tmp_path / "two", "b.mp4", "both.mp4", "x/both.mp4")
    (two / "same.mp4").write_text("the same name for another content")
    again(workspace, one)
    made = plan(workspace, two)
    assert planned(workspace, made) == ["b.mp4", "same.mp4"]
    carry_out(workspace, made)
    assert len(names(workspace)) == 5 and names(workspace)[digest_of_name("both.mp4")] == ("both.mp4", "x/both.mp4")
    assert plan(workspace, one).edits == plan(workspace, two).edits == ()
    for path in ("same.mp4", "both.mp4", "x/both.mp4"):
        (two / path).unlink()
    made = again(workspace, two, max_missing=1.0)
    both = edits(made)[digest_of_name("both.mp4")]
    assert len(made.edits) == 2 and both and both.paths == ("both.mp4",), "the first folder has it still"
    assert digest_of_name("same.mp4") in names(workspace)
    (one / "both.mp4").unlink()
    assert edits(again(workspace, one)) == {digest_of_name("both.mp4"): None}
    assert len(names(workspace)) == 3


def test_one_file_says_nothing_of_its_neighbours(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    again(workspace, videos)
    assert plan(workspace, videos / "a.mp4").edits == ()
    (videos / "a.mp4").write_text("better")
    made = plan(workspace, videos / "a.mp4")
    assert edits(made) == {digest_of_name("a.mp4"): None} and planned(workspace, made) == ["a.mp4"]


def test_without_its_memory_a_plan_drops_nothing_and_learns_again(workspace, tmp_path, caplog):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    again(workspace, videos)
    workspace.dataset("made").sources.unlink()
    (videos / "a.mp4").unlink()
    made = plan(workspace, videos)
    assert (made.edits, made.batches, made.unchanged) == ((), (), 2)
    assert "was lost" in caplog.text
    (videos / "b.mp4").unlink()
    assert edits(plan(workspace, videos)) == {digest_of_name("b.mp4"): None}


def test_what_was_rejected_stays_rejected(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "good.mp4", "bad.mp4")
    carry_out(workspace, plan(workspace, videos), reject=["bad.mp4"])
    (videos / "bad.mp4").rename(videos / "renamed.mp4")
    made = plan(workspace, videos)
    assert (made.batches, made.edits, made.unchanged) == ((), (), 2)


def test_another_recipe_starts_anew_and_going_back_finds_the_old(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    again(workspace, videos)
    first = current_version(workspace.dataset("made"))
    made = again(workspace, videos, frames=4)
    assert first and (made.base, made.origin, len(made.batches)) == (first.digest(), None, 1)
    second = current_version(workspace.dataset("made"))
    (videos / "a.mp4").unlink()
    again(workspace, videos, frames=4)
    plan(workspace, videos, frames=4)
    made = plan(workspace, videos)
    assert second and made.base != made.origin == first.digest() and made.batches == ()
    assert edits(made) == {digest_of_name("a.mp4"): None}, "what another recipe forgot is still known to have gone"


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_shard_has_its_batch_made_again_as_it_was(workspace, tmp_path, how, caplog):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(10)))
    again(workspace, videos)
    folder = workspace.dataset("made")
    version = current_version(folder)
    assert version
    damaged = version.batches[1]
    path = folder.shards / damaged.shards[0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if how != "remove":
        path.write_bytes(content if how == "flip" else content[:-512])
    write_files(videos, "new.mp4")
    made = plan(workspace, videos)
    assert set(made.kept) == {ref.record for ref in version.batches} - {damaged.record}
    assert damaged.key in {place.key for place in made.batches}
    assert sorted(place.videos for place in made.batches) == sorted([1, damaged.videos])
    assert path.name in caplog.text
    carry_out(workspace, made)
    assert plan(workspace, videos).batches == ()


def test_a_damaged_batch_whose_videos_are_gone_is_given_up_aloud(workspace, tmp_path, caplog):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(8)))
    again(workspace, videos)
    folder = workspace.dataset("made")
    version = current_version(folder)
    assert version
    (folder.shards / version.batches[0].shards[0].file).unlink()
    gone = next(iter(read_batches(folder, version))).videos[0]
    (videos / gone.paths[0]).unlink()
    made = again(workspace, videos)
    assert "1 of the videos of damaged batches are gone" in caplog.text
    assert [place.videos for place in made.batches] == [3] and made.edits == ()
    assert len(names(workspace)) == 7


def test_a_damaged_record_has_its_files_read_again(workspace, tmp_path, caplog):
    videos = write_files(tmp_path / "videos", *(f"{number}.mp4" for number in range(8)))
    again(workspace, videos)
    folder = workspace.dataset("made")
    version = current_version(folder)
    assert version
    folder.batch(version.batches[0].record).write_text("{}")
    made = plan(workspace, videos)
    assert [place.key for place in made.batches] == [version.batches[0].key]
    assert "given up" in caplog.text


def write_sidecar(path: Path, **rows: str) -> str:
    lines = [
        json.dumps({"path": f"{name}.mp4", "label": label or None, "licence": "MIT"}) for name, label in rows.items()
    ]
    path.write_text("\n".join(lines))
    return str(path)


def test_labels_and_licences_come_from_the_sidecar(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", *(f"{name}.mp4" for name in "abcdef"))
    sidecar = write_sidecar(tmp_path / "s.jsonl", a="x", b="x", c="y", d="y", e="")
    config = CONFIG.model_copy(update={"labels": "sidecar", "sidecar": sidecar})
    made = plan(workspace, videos, config)
    said = {source.paths[0][0]: (source.label, source.licence) for part in sources(workspace, made) for source in part}
    assert said == {"a": ("x", "MIT"), "b": ("x", "MIT"), "c": ("y", "MIT"), "d": ("y", "MIT")}
    assert [(item.path, item.reason, item.digest_sha256) for item in made.rejections] == [
        ("e.mp4", "no_label", None),
        ("f.mp4", "no_label", None),
    ]
    carry_out(workspace, made)
    assert plan(workspace, videos, config).edits == ()
    write_sidecar(tmp_path / "s.jsonl", a="x", b="z", c="y", d="", f="y")
    made = plan(workspace, videos, config)
    assert planned(workspace, made) == ["f.mp4"]
    changed = {digest: source and source.label for digest, source in edits(made).items()}
    assert changed == {digest_of_name("b.mp4"): "z", digest_of_name("d.mp4"): None}
    assert made.unchanged == 3
    write_sidecar(tmp_path / "s.jsonl", wrong="x")
    with pytest.raises(BadInputError, match=r"4 of the 4 known videos \(100%\) have no label.*relative to"):
        plan(workspace, videos, config)


def test_a_sidecar_without_any_label_gives_none(workspace, tmp_path):
    write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    sidecar = tmp_path / "s.csv"
    sidecar.write_text("path,labels\na.mp4,x\n")
    with pytest.raises(ConfigError, match=r"no row of the sidecar .*s\.csv has a label") as caught:
        plan(workspace, tmp_path / "videos", labels="sidecar", sidecar=str(sidecar))
    assert "column 'label'" in caught.value.hint
    assert plan(workspace, tmp_path / "videos", sidecar=str(sidecar)).batches


def test_licences_are_kept_whatever_the_labels_and_without_a_sidecar(workspace, tmp_path):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    again(workspace, videos)
    sidecar = write_sidecar(tmp_path / "s.jsonl", a="ignored")
    [source] = edits(again(workspace, videos, sidecar=sidecar)).values()
    assert source and (source.label, source.licence) == (None, "MIT")
    assert plan(workspace, videos).edits == (), "a run without the sidecar takes nothing back"
    write_sidecar(tmp_path / "s.jsonl", b="")
    changed = {
        digest: source and source.licence for digest, source in edits(plan(workspace, videos, sidecar=sidecar)).items()
    }
    assert changed == {digest_of_name("a.mp4"): None, digest_of_name("b.mp4"): "MIT"}


def test_files_in_no_folder_are_labelled_by_the_root(workspace, tmp_path):
    videos = write_files(tmp_path / "dances", "a.mp4", "deep/er/b.mp4")
    made = plan(workspace, videos, FOLDERS)
    assert {source.label for part in sources(workspace, made) for source in part} == {"dances", "er"}


def test_nothing_to_be_found_is_bad_input(workspace, tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(BadInputError, match="no video in"):
        plan(workspace, tmp_path / "videos")
    with pytest.raises(ConfigError, match="there is no"):
        plan(workspace, tmp_path / "absent")


def test_a_file_that_cannot_be_read_is_rejected_and_tried_again(workspace, tmp_path, monkeypatch):
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    real = os.open

    def failing(path, *arguments, **options):
        if str(path).endswith("a.mp4"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        made = plan(workspace, videos)
    assert [(item.path, item.reason, item.digest_sha256) for item in made.rejections] == [("a.mp4", "unreadable", None)]
    assert planned(workspace, made) == ["b.mp4"]
    assert planned(workspace, plan(workspace, videos)) == ["a.mp4", "b.mp4"]


def test_equal_times_in_a_bucket_make_no_equal_files(workspace, tmp_path, monkeypatch):
    copies = write_files(tmp_path / "copies", "a.mp4", "b.mp4")
    fetched: list[str] = []

    class Bucket:
        def __init__(self, url: str) -> None:
            self.url = url

        def files(self):
            return iter([RemoteFile(name, 5, "2026-01-01 00:00:00") for name in ("b.mp4", "a.mp4")])

    class Cache:
        def __init__(self, workspace: Workspace) -> None: ...

        @contextlib.contextmanager
        def hold(self, url: str, file: RemoteFile):
            fetched.append(file.path)
            yield copies / file.path

    monkeypatch.setattr("vgan.data.files.listing.RemoteFolder", Bucket)
    monkeypatch.setattr("vgan.data.files.hashing.VideoCache", Cache)
    made = plan(workspace, "s3://bucket/videos")
    digests = {source.digest_sha256 for part in sources(workspace, made) for source in part}
    assert digests == {digest_of_name("a.mp4"), digest_of_name("b.mp4")}
    assert plan(workspace, "s3://bucket/videos") == made and sorted(fetched) == ["a.mp4", "b.mp4"]


def simulate(tmp_path: Path, videos: int) -> dict[str, float]:
    script = Path(__file__).parents[2] / "benchmarks" / "growth.py"
    command = [sys.executable, str(script), "--simulate", str(videos), "--child", str(tmp_path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_plan_grows_with_the_listing_and_no_faster(tmp_path):
    result = simulate(tmp_path, 50_000)
    assert result["task_runs"] <= 1000, "20,000 a million"
    assert result["peak_mb"] < 160, "2 GB a million, and Python with its modules"


@pytest.mark.e2e
def test_a_million_videos_make_a_small_plan(tmp_path):
    result = simulate(tmp_path, 1_000_000)
    assert result["task_runs"] <= 20_000 and result["peak_mb"] < 2000


def test_equal_videos_in_folders_of_two_labels_are_told(workspace, tmp_path, caplog):
    videos = write_files(tmp_path / "videos", "cat/1.mp4", "dog/1.mp4", "dog/2.mp4")
    made = plan(workspace, videos, labels="folder")
    [double] = [source for part in sources(workspace, made) for source in part if len(source.paths) > 1]
    assert double.label == "cat"
    assert "1 videos lie in folders of several labels; cat/1.mp4, dog/1.mp4 are taken as 'cat'" in caplog.text
