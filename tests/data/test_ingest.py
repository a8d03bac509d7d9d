import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from vgan.config import IngestConfig
from vgan.data import batch as batch_module
from vgan.data import ingest as library
from vgan.data.ingest import ingest
from vgan.data.loader import ClipSet
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.plan import BatchPlan, IngestPlan, plan_ingest
from vgan.errors import BadInputError, ConfigError, MissingToolError, ResumableError
from vgan.media.ffmpeg import find_ffmpeg
from vgan.records import Batch
from vgan.storage import lease
from vgan.workspace import Workspace

CONFIG = IngestConfig(frames=8, height=16, width=16, labels="folder", videos_per_batch=5)

INGEST = """
import sys
from pathlib import Path
from vgan.config import IngestConfig
from vgan.data.ingest import ingest
from vgan.workspace import Workspace
config = IngestConfig(frames=8, height=16, width=16, labels="folder", videos_per_batch=5)
ingest(Workspace.open(sys.argv[1]), Path(sys.argv[2]), "shapes", config, workers=int(sys.argv[3]))
"""


def state_of(workspace: Workspace, name: str = "shapes") -> dict[str, str]:
    """Every file of a dataset by its sha256, temporary ones too."""
    root = workspace.dataset(name).path
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def sides_of(workspace: Workspace, name: str = "shapes") -> dict[str, str]:
    return {path: video.split for video in load_dataset(workspace, name).videos for path in video.paths}


@pytest.fixture
def counted(monkeypatch):
    """Paths that were decoded."""
    opened: list[Path] = []

    class Counting(batch_module.Decoder):
        def __init__(self, path, **options):
            opened.append(Path(path))
            super().__init__(path, **options)

    monkeypatch.setattr(batch_module, "Decoder", Counting)
    return opened


def test_a_folder_becomes_a_dataset(workspace, shapes_videos):
    report = ingest(workspace, shapes_videos, "shapes", CONFIG)
    dataset = load_dataset(workspace, "shapes")
    assert (report.videos_accepted, report.videos_rejected, report.videos_unchanged) == (12, 0, 0)
    assert report.clips_train + report.clips_heldout == 12 and report.clips_heldout >= 2
    assert report.dataset_digest == dataset.digest() and Path(report.manifest).is_file()
    assert report.frames_decoded == 12 * 16
    assert dataset.labels == ("left", "up") and len(dataset.batches) == 3
    assert {video.label for video in dataset.videos if video.split == "heldout"} <= {"left", "up"}
    assert verify_dataset(workspace, dataset) == []
    assert workspace.dataset("shapes").version(dataset.digest()).is_file()
    moving = ClipSet(workspace.dataset("shapes"), dataset, "train")
    for index in range(len(moving)):
        clip_CTHW = moving.read([index])[0].astype(float)
        weight = clip_CTHW.sum(axis=0)
        along = 2 if dataset.labels[moving.labels[index]] == "left" else 1
        start, end = (weight[frame].sum(axis=2 - along) @ np.arange(16) / weight[frame].sum() for frame in (0, -1))
        assert end - start < -8, "the clip shows what its label says"


def test_bytes_do_not_depend_on_workers_or_environment(shapes_videos, tmp_path):
    states = []
    for workers, extra in (
        (1, {"PYTHONHASHSEED": "1", "TZ": "UTC"}),
        (3, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo"}),
    ):
        root = tmp_path / str(workers)
        arguments = [sys.executable, "-c", INGEST, root, shapes_videos, str(workers)]
        subprocess.run(arguments, check=True, env={**os.environ, **extra})
        states.append(state_of(Workspace.open(root)))
    assert states[0] == states[1]


@pytest.mark.parametrize("fault", ["mid_shard", "before_batch", "before_manifest"])
def test_a_killed_ingest_goes_on_and_ends_as_if_nothing_had_been(shapes_videos, workspace, tmp_path, fault):
    clean = Workspace.open(tmp_path / "clean")
    ingest(clean, shapes_videos, "shapes", CONFIG)
    arguments = [sys.executable, "-c", INGEST, workspace.root, shapes_videos, "2"]
    killed = subprocess.run(arguments, check=False, env={**os.environ, "VGAN_FAULT": fault})
    assert killed.returncode == -9
    assert not workspace.dataset("shapes").manifest.exists()
    assert workspace.dataset_names() == []
    ingest(workspace, shapes_videos, "shapes", CONFIG)
    assert state_of(workspace) == state_of(clean), "nothing is missing and no rubbish is left"


def test_a_second_ingest_opens_no_video(workspace, shapes_videos, counted):
    first = ingest(workspace, shapes_videos, "shapes", CONFIG)
    before, decoded = state_of(workspace), len(counted)
    again = ingest(workspace, shapes_videos, "shapes", CONFIG.model_copy(update={"max_rejected": 0.1}))
    assert decoded == 12 and len(counted) == 12
    assert (again.unchanged, again.videos_unchanged, again.videos_accepted) == (True, 12, 0)
    assert again.dataset_digest == first.dataset_digest and state_of(workspace) == before


def test_finished_batches_are_not_decoded_again(workspace, shapes_videos, counted, monkeypatch):
    def broken(*_: object) -> None:
        raise ResumableError("stopped before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(library, "_commit", broken)
        with pytest.raises(ResumableError):
            ingest(workspace, shapes_videos, "shapes", CONFIG)
    ingest(workspace, shapes_videos, "shapes", CONFIG)
    assert len(counted) == 12


def test_new_videos_make_one_new_batch_and_no_video_changes_its_side(workspace, shapes_videos, counted, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    late = sorted(videos.rglob("*.mp4"))[3:9:2]
    for path in late:
        path.rename(path.with_suffix(".later"))
    ingest(workspace, videos, "shapes", CONFIG)
    before, old = sides_of(workspace), load_dataset(workspace, "shapes")
    counted.clear()
    for path in late:
        path.with_suffix(".later").rename(path)
    (videos / "up" / "shape-00001.mp4").unlink()
    report = ingest(workspace, videos, "shapes", CONFIG)
    new = load_dataset(workspace, "shapes")
    assert sorted(counted) == sorted(late)
    assert (report.videos_accepted, report.videos_unchanged) == (3, 8)
    assert all(batch in new.batches for batch in old.batches) and len(new.batches) == len(old.batches) + 1
    after = sides_of(workspace)
    assert {path: after[path] for path in before} == before, "also of the one that is gone"
    assert workspace.dataset("shapes").version(old.digest()).is_file()


def test_another_config_starts_a_new_version_and_keeps_the_old(workspace, shapes_videos):
    ingest(workspace, shapes_videos, "shapes", CONFIG)
    old = load_dataset(workspace, "shapes")
    report = ingest(workspace, shapes_videos, "shapes", CONFIG.model_copy(update={"frames": 4}))
    assert (report.videos_accepted, report.unchanged) == (12, False)
    assert verify_dataset(workspace, old) == [] and workspace.dataset("shapes").version(old.digest()).is_file()


def test_bad_files_are_rejected_with_reasons_and_fail_nothing(workspace, shapes_videos, make_video, tmp_path, counted):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos / "up", videos)
    good = next(iter(shapes_videos.rglob("*.mp4")))
    (videos / "zero.mp4").touch()
    (videos / "text.mp4").write_text("not a video")
    (videos / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:5,\n{good}\n#EXT-X-ENDLIST\n")
    (videos / "folder.mp4").mkdir()
    (videos / "dangling.mp4").symlink_to("nowhere")
    (videos / "outside.mp4").symlink_to(good)
    (videos / "device.mp4").symlink_to("/dev/zero")
    os.mkfifo(videos / "pipe.mp4")
    (videos / "notes.txt").write_text("ignored")
    (videos / "loop").symlink_to(videos)
    make_video(videos / "sound.m4a", "-f", "lavfi", "-i", "sine=duration=1")
    make_video(videos / "short.mp4", "-i", good, "-frames:v", "6")
    make_video(videos / "slow.mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=3:duration=6")
    report = ingest(workspace, videos, "shapes", CONFIG.model_copy(update={"max_rejected": 0.7}))
    assert report.videos_accepted == 6
    assert {rejection.path: rejection.reason for rejection in report.rejections} == {
        "zero.mp4": "empty",
        "text.mp4": "no_header",
        "playlist.mp4": "no_header",
        "folder.mp4": "not_regular",
        "dangling.mp4": "unreadable",
        "outside.mp4": "outside_root",
        "device.mp4": "not_regular",
        "pipe.mp4": "not_regular",
        "sound.m4a": "no_video_stream",
        "short.mp4": "too_short",
        "slow.mp4": "low_fps",
    }
    assert all(rejection.detail for rejection in report.rejections)
    assert not any(path.name in {"pipe.mp4", "outside.mp4", "zero.mp4"} for path in counted)
    counted.clear()
    again = ingest(workspace, videos, "shapes", CONFIG.model_copy(update={"max_rejected": 1.0}))
    assert again.unchanged and not counted, "rejected ones are known too"


def test_too_many_rejections_stop_the_run_and_name_the_way_on(workspace, shapes_videos, counted, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos / "up", videos)
    for number in range(4):
        (videos / f"bad-{number}.mp4").write_text(f"bad {number}")
    strict = CONFIG.model_copy(update={"max_rejected": 0.2})
    with pytest.raises(BadInputError, match=r"4 of 10 .*4 no_header.*--max-rejected 0\.4") as caught:
        ingest(workspace, videos, "shapes", strict)
    assert caught.value.exit_code == 65
    assert not workspace.dataset("shapes").manifest.exists()
    decoded = len(counted)
    assert ingest(workspace, videos, "shapes", CONFIG.model_copy(update={"max_rejected": 0.41})).videos_rejected == 4
    assert len(counted) == decoded, "what was decoded before the stop is used"


def test_nothing_usable_is_bad_input(workspace, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    with pytest.raises(BadInputError, match="no video in"):
        ingest(workspace, videos, "shapes", CONFIG)
    (videos / "bad.mp4").write_text("bad")
    with pytest.raises(BadInputError, match="none of the 1 videos"):
        ingest(workspace, videos, "shapes", CONFIG)
    with pytest.raises(ConfigError, match="there is no"):
        ingest(workspace, tmp_path / "absent", "shapes", CONFIG)
    with pytest.raises(ConfigError, match=r"known: none.*vgan ingest"):
        load_dataset(workspace, "shapes")


def test_one_video_cannot_be_split(workspace, shapes_videos):
    with pytest.raises(BadInputError, match="two different videos"):
        ingest(workspace, next(iter(shapes_videos.rglob("*.mp4"))), "shapes", CONFIG)
    assert workspace.dataset_names() == []


def test_copies_and_remuxes_are_stored_once_with_all_their_names(
    workspace, shapes_videos, make_video, tmp_path, counted
):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    first = sorted(videos.rglob("*.mp4"))[0]
    shutil.copy(first, videos / "copy.mp4")
    make_video(videos / "remux.mkv", "-i", first, "-c", "copy")
    report = ingest(workspace, videos, "shapes", CONFIG.model_copy(update={"videos_per_batch": 64}))
    dataset = load_dataset(workspace, "shapes")
    stored = [video for video in dataset.videos if "copy.mp4" in video.paths]
    assert len(dataset.videos) == 12 and report.clips_train + report.clips_heldout == 12
    assert stored[0].paths == ("copy.mp4", "left/shape-00000.mp4", "remux.mkv") and len(stored[0].copies) == 1
    counted.clear()
    assert ingest(workspace, videos, "shapes", CONFIG).unchanged and not counted


def test_a_remux_in_a_later_batch_stays_on_the_side_of_its_original(workspace, shapes_videos, make_video, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    ingest(workspace, videos, "shapes", CONFIG)
    for path in sorted(videos.rglob("*.mp4")):
        make_video(path.with_suffix(".mkv"), "-i", path, "-c", "copy")
    report = ingest(workspace, videos, "shapes", CONFIG)
    assert report.videos_accepted == 12
    sides = sides_of(workspace)
    assert all(sides[path] == sides[path.replace(".mp4", ".mkv")] for path in sides if path.endswith(".mp4"))


def test_groups_by_name_are_never_torn_apart(workspace, shapes_videos):
    config = CONFIG.model_copy(update={"group_by": r"shape-\d{4}(\d)", "videos_per_batch": 3})
    ingest(workspace, shapes_videos, "shapes", config)
    by_group: dict[str, set[str]] = {}
    for path, side in sides_of(workspace).items():
        by_group.setdefault(path[-5], set()).add(side)
    assert len(by_group) == 10 and all(len(sides) == 1 for sides in by_group.values())


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_shard_is_found_and_healed(workspace, shapes_videos, counted, how):
    ingest(workspace, shapes_videos, "shapes", CONFIG)
    dataset, clean = load_dataset(workspace, "shapes"), state_of(workspace)
    shard = dataset.batches[1].shards[0]
    path = workspace.dataset("shapes").shards / shard.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if how != "remove":
        path.write_bytes(content if how == "flip" else content[: len(content) // 2])
    assert [problem.split(":")[0] for problem in verify_dataset(workspace, dataset)] == [shard.file]
    counted.clear()
    assert ingest(workspace, shapes_videos, "shapes", CONFIG).unchanged, "the same version is whole again"
    assert len(counted) == len(dataset.batches[1].videos)
    assert state_of(workspace) == clean


def test_a_damaged_batch_whose_videos_are_gone_is_given_up_aloud(workspace, shapes_videos, tmp_path, caplog):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    ingest(workspace, videos, "shapes", CONFIG)
    dataset, before = load_dataset(workspace, "shapes"), sides_of(workspace)
    damaged = dataset.batches[1]
    (workspace.dataset("shapes").shards / damaged.shards[0].file).unlink()
    (videos / damaged.videos[0].paths[0]).unlink()
    ingest(workspace, videos, "shapes", CONFIG)
    assert "1 of its videos are gone" in caplog.text
    after = sides_of(workspace)
    assert set(before) - set(after) == set(damaged.videos[0].paths)
    assert {path: before[path] for path in after} == after
    assert verify_dataset(workspace, load_dataset(workspace, "shapes")) == []


def test_ctrl_c_leaves_no_process_and_no_rubbish(workspace, shapes_videos, tmp_path):
    slow = tmp_path / "ffmpeg"
    real = find_ffmpeg().path
    slow.write_text(f'#!/bin/sh\n[ "$1" = -version ] && exec {real} -version\nsleep 0.2\nexec {real} "$@"\n')
    slow.chmod(0o755)
    # A shell without a terminal starts its background jobs with SIGINT ignored, and a child inherits that.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    arguments = [sys.executable, "-c", listening + INGEST, workspace.root, shapes_videos, "2"]
    with subprocess.Popen(arguments, env={**os.environ, "VGAN_FFMPEG": str(slow)}, stderr=subprocess.PIPE) as child:
        shards = workspace.dataset("shapes").shards
        while not any(shards.glob(".tmp-*")):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate()
    assert b"KeyboardInterrupt" in errors
    assert set(state_of(workspace)) == set(), "no shard, no spool, no lease"
    assert not any(str(slow) in (process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))


def test_a_file_that_changes_while_it_is_read_is_rejected(workspace, shapes_videos, tmp_path, monkeypatch):
    videos = tmp_path / "videos"
    shutil.copytree(shapes_videos, videos)
    victim = videos / "up" / "shape-00003.mp4"

    class Meddling(batch_module.Decoder):
        def __iter__(self):
            yield from super().__iter__()
            if Path(self.path) == victim:
                victim.write_bytes(victim.read_bytes() + b"more")

    monkeypatch.setattr(batch_module, "Decoder", Meddling)
    report = ingest(workspace, videos, "shapes", CONFIG)
    assert [(rejection.path, rejection.reason) for rejection in report.rejections] == [
        ("up/shape-00003.mp4", "changed_during_read")
    ]


def test_strange_names_are_kept_as_text(workspace, shapes_videos, tmp_path):
    names = [
        b"line\nbreak.mp4",
        b"-i.mp4",
        b"%03d.mp4",
        b"quo'te\".mp4",
        "\N{VIDEO CAMERA}.mp4".encode(),
        b"\xff\xfe.mp4",
    ]
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, source in zip(names, sorted(shapes_videos.rglob("*.mp4")), strict=False):
        shutil.copy(source, os.fsencode(videos) + b"/" + name)
    report = ingest(workspace, videos, "shapes", CONFIG)
    assert report.videos_accepted == len(names)
    kept = set(sides_of(workspace))
    assert kept == {
        "line\nbreak.mp4",
        "-i.mp4",
        "%03d.mp4",
        "quo'te\".mp4",
        "\N{VIDEO CAMERA}.mp4",
        r"\udcff\udcfe.mp4",
    }
    assert load_dataset(workspace, "shapes").labels == ("videos",)
    assert ingest(workspace, videos, "shapes", CONFIG).unchanged


def test_the_steps_work_on_records_that_went_through_json(workspace, shapes_videos):
    plan = IngestPlan.from_json(plan_ingest(workspace, shapes_videos, "shapes", CONFIG).to_json(), "plan")
    batches = []
    for planned in plan.batches:
        sent = BatchPlan.from_json(planned.to_json(), "batch plan")
        batch = library.ingest_batch(workspace, "shapes", CONFIG, sent)
        batches.append(Batch.from_json(batch.to_json(), "batch"))
    report = library.commit(workspace, "shapes", CONFIG, plan, batches[::-1])
    assert not report.unchanged
    assert ingest(workspace, shapes_videos, "shapes", CONFIG).dataset_digest == report.dataset_digest
    with pytest.raises(ResumableError, match="changed by another ingest"):
        library.commit(workspace, "shapes", CONFIG, plan, batches)


def test_two_ingests_of_one_dataset_exclude_each_other(workspace, shapes_videos):
    with lease(workspace.dataset("shapes").lease), pytest.raises(ResumableError, match="in use by process"):
        ingest(workspace, shapes_videos, "shapes", CONFIG)
    ingest(workspace, shapes_videos, "shapes", CONFIG)


def test_without_ffmpeg_nothing_is_rejected(workspace, shapes_videos, monkeypatch, tmp_path):
    monkeypatch.setenv("VGAN_FFMPEG", str(tmp_path / "absent"))
    with pytest.raises(MissingToolError):
        ingest(workspace, shapes_videos, "shapes", CONFIG)
    assert not any(workspace.dataset("shapes").path.rglob("*.json"))


def test_progress_ends_at_the_number_of_videos(workspace, shapes_videos):
    seen = []
    ingest(
        workspace, shapes_videos, "shapes", CONFIG, progress=lambda done, total, note: seen.append((done, total, note))
    )
    decoding = [(done, total) for done, total, note in seen if note == "decoding"]
    assert decoding == [(done, 12) for done in range(1, 13)]


def test_no_clip_of_a_real_file_crosses_a_cut(workspace, lavfi, tmp_path):
    graph = "color=navy:size=64x64:rate=16:duration=1.7[a];color=orange:size=64x64:rate=16:duration=2.3[b];[a][b]concat"
    for number in range(2):
        lavfi(tmp_path / "videos" / f"{number}.mp4", f"{graph},drawbox=x={number * 8}:y=0:w=8:h=8:color=white:t=fill")
    ingest(workspace, tmp_path / "videos", "cuts", CONFIG)
    dataset = load_dataset(workspace, "cuts")
    assert [video.windows_cut for video in dataset.videos] == [1, 1]
    for split in ("train", "heldout"):
        clips = ClipSet(workspace.dataset("cuts"), dataset, split)
        assert len(clips) == 3
        for clip_CTHW in clips.read(range(3)):
            assert np.ptp(clip_CTHW.mean(axis=(0, 2, 3))) < 5, "one colour from the first frame to the last"
