"""A folder of videos becomes a dataset version, and the same folder later the next one."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ingesting import CONFIG, ingest_in_child, sides_of, state_of, videos_of

from vgan.data import ingest as library
from vgan.data.ingest import ingest
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.errors import BadInputError, ConfigError, ResumableError
from vgan.storage import lease
from vgan.workspace import Workspace


def changed(**fields):
    return CONFIG.model_copy(update=fields)


def test_a_folder_becomes_a_dataset(workspace, shapes_videos):
    report = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    dataset = load_dataset(workspace, "shapes")
    assert (report.videos_accepted, report.videos_rejected, report.videos_unchanged) == (12, 0, 0)
    assert report.clips_train + report.clips_heldout == report.clips_new == 12 and report.clips_heldout >= 2
    assert report.dataset_digest == dataset.digest() and Path(report.manifest).is_file()
    assert (report.number, report.frames_decoded, report.near_duplicates) == (1, 12 * 16, 0)
    assert dataset.labels == ("left", "up") and len(dataset.batches) == 3 and dataset.videos == 12
    assert {video.label for video in videos_of(workspace) if video.split == "heldout"} == {"left", "up"}
    assert verify_dataset(workspace, dataset) == []
    assert workspace.dataset("shapes").version(dataset.digest()).is_file()
    left_behind = {path.name for path in workspace.dataset("shapes").path.iterdir()}
    assert not left_behind & {"plan.jsonl", "lease.json"} and not list(
        workspace.dataset("shapes").pending("x").parent.iterdir()
    )


def test_clips_show_what_their_labels_say(workspace, shapes_videos):
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    dataset = load_dataset(workspace, "shapes")
    moving = ClipSet(workspace.dataset("shapes"), dataset, "train")
    for index in range(len(moving)):
        weight = moving.read([index])[0].astype(float).sum(axis=0)
        along = 2 if dataset.labels[moving.labels[index]] == "left" else 1
        start, end = (weight[frame].sum(axis=2 - along) @ np.arange(16) / weight[frame].sum() for frame in (0, -1))
        assert end - start < -8


def test_bytes_do_not_depend_on_workers_or_environment(shapes_videos, tmp_path):
    """FAULTS 44: equal input makes equal shards, records and manifest."""
    states = []
    for workers, extra in (
        (1, {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        (2, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8"}),
    ):
        root = tmp_path / str(workers)
        assert ingest_in_child(root, shapes_videos, workers=workers, **extra) == 0
        states.append(state_of(Workspace.open(root)))
    assert states[0] == states[1]
    assert any(name.endswith(".tar") for name in states[0])


def test_a_second_ingest_opens_no_video(workspace, shapes_videos, counted):
    first = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    before, decoded = state_of(workspace), len(counted)
    again = ingest(workspace, str(shapes_videos), "shapes", changed(max_rejected=0.1, videos_per_batch=3, workers=1))
    assert decoded == 12 and len(counted) == 12
    assert (again.unchanged, again.videos_unchanged, again.videos_accepted, again.clips_new) == (True, 12, 0, 0)
    assert again.dataset_digest == first.dataset_digest and state_of(workspace) == before


def test_finished_batches_are_not_decoded_again(workspace, shapes_videos, counted, monkeypatch):
    def broken(*_):
        raise ResumableError("stopped before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(library, "commit_leased", broken)
        with pytest.raises(ResumableError):
            ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert len(counted) == 12


def test_new_videos_make_one_new_batch_and_no_video_changes_its_side(workspace, videos, counted):
    late = sorted(videos.rglob("*.mp4"))[3:9:2]
    for path in late:
        path.rename(path.with_suffix(".later"))
    ingest(workspace, str(videos), "shapes", CONFIG)
    before, old = sides_of(workspace), load_dataset(workspace, "shapes")
    counted.clear()
    for path in late:
        path.with_suffix(".later").rename(path)
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    new = load_dataset(workspace, "shapes")
    assert sorted(counted) == sorted(path.name for path in late)
    assert (report.videos_accepted, report.videos_unchanged, report.clips_new, report.number) == (3, 9, 3, 2)
    assert all(batch in new.batches for batch in old.batches) and len(new.batches) == len(old.batches) + 1
    assert {path: sides_of(workspace)[path] for path in before} == before
    assert workspace.dataset("shapes").version(old.digest()).is_file()


def test_another_config_keeps_both_versions_and_going_back_decodes_nothing(workspace, shapes_videos, counted):
    first = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    old = load_dataset(workspace, "shapes")
    other = ingest(workspace, str(shapes_videos), "shapes", changed(frames=4))
    assert (other.videos_accepted, other.unchanged, other.number, other.clips_new) == (12, False, 2, 12)
    assert verify_dataset(workspace, old) == []
    counted.clear()
    back = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert counted == [] and (back.dataset_digest, back.number) == (first.dataset_digest, 1)
    assert load_dataset(workspace, "shapes") == old
    forth = ingest(workspace, str(shapes_videos), "shapes", changed(frames=4))
    assert counted == [] and (forth.dataset_digest, forth.number) == (other.dataset_digest, 2)


def test_bad_files_are_rejected_with_reasons_and_fail_nothing(workspace, videos, counted, make_video):
    """FAULTS 18, 22: each has its reason, also what is too short for a clip."""
    good = next(iter(videos.rglob("*.mp4")))
    (videos / "zero.mp4").touch()
    (videos / "text.mp4").write_text("not a video")
    (videos / "folder.mp4").mkdir()
    os.mkfifo(videos / "pipe.mp4")
    make_video(videos / "short.mp4", "-i", good, "-frames:v", "6")
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    reasons = {rejection.path: rejection.reason for rejection in report.rejections}
    assert report.videos_accepted == 12 and report.videos_rejected == len(reasons)
    assert reasons["short.mp4"] == "too_short" and {"zero.mp4", "text.mp4", "pipe.mp4"} <= reasons.keys()
    assert all(rejection.detail for rejection in report.rejections)
    assert "pipe.mp4" not in counted
    counted.clear()
    again = ingest(workspace, str(videos), "shapes", CONFIG)
    assert again.unchanged and not counted, "rejected ones are known too"
    assert {rejection.path for rejection in again.rejections} == reasons.keys()


def test_too_many_rejections_stop_the_run_and_name_the_way_on(workspace, videos, counted):
    shutil.rmtree(videos / "left")
    for number in range(4):
        (videos / f"bad-{number}.mp4").write_text(f"bad {number}")
    with pytest.raises(BadInputError, match=r"4 of 10 .*--max-rejected 0\.4") as caught:
        ingest(workspace, str(videos), "shapes", changed(max_rejected=0.2))
    assert caught.value.exit_code == 65
    assert not workspace.dataset("shapes").manifest.exists()
    decoded = len(counted)
    assert ingest(workspace, str(videos), "shapes", changed(max_rejected=0.41)).videos_rejected == 4
    assert len(counted) == decoded, "what was decoded before the stop is used"


def test_one_bad_new_video_among_many_known_ones_stops_nothing(workspace, lavfi, tmp_path):
    videos = tmp_path / "videos"
    for number in range(20):
        graph = f"testsrc2=size=64x64:rate=8:duration=1.1,hue=h={number * 17}:b={number % 5 - 2}"
        lavfi(videos / "a" / f"{number}.mp4", graph)
    ingest(workspace, str(videos), "many", changed(videos_per_batch=64))
    (videos / "bad.mp4").write_text("bad")
    report = ingest(workspace, str(videos), "many", CONFIG)
    assert (report.unchanged, report.videos_rejected) == (True, 1)
    again = ingest(workspace, str(videos), "many", CONFIG)
    assert (again.videos_rejected, [rejection.path for rejection in again.rejections]) == (0, ["bad.mp4"])


def test_nothing_usable_is_bad_input(workspace, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    with pytest.raises(BadInputError, match="no video in"):
        ingest(workspace, str(videos), "shapes", CONFIG)
    (videos / "bad.mp4").write_text("bad")
    with pytest.raises(BadInputError, match="the only video cannot be used"):
        ingest(workspace, str(videos), "shapes", CONFIG)
    with pytest.raises(ConfigError):
        ingest(workspace, str(tmp_path / "absent"), "shapes", CONFIG)
    with pytest.raises(ConfigError, match=r"known: none.*vgan ingest"):
        load_dataset(workspace, "shapes")


def test_one_video_cannot_be_split(workspace, shapes_videos):
    with pytest.raises(BadInputError, match="two different videos"):
        ingest(workspace, str(next(iter(shapes_videos.rglob("*.mp4")))), "shapes", CONFIG)
    assert workspace.dataset_names() == []


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_shard_is_found_and_healed(workspace, shapes_videos, counted, how):
    """FAULTS 48: what is there is a hint; a shard that is not as it was written is made again, and only its batch."""
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    before, dataset = state_of(workspace), load_dataset(workspace, "shapes")
    path = workspace.dataset("shapes").shards / dataset.shards[0].file
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content[:-512] if how == "cut" else content)
    if how == "remove":
        path.unlink()
    assert len(verify_dataset(workspace, dataset)) == 1
    counted.clear()
    report = ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert 0 < len(counted) <= 5 and report.unchanged and report.clips_new == 0
    assert state_of(workspace) == before


def test_two_ingests_of_one_dataset_exclude_each_other(workspace, shapes_videos):
    """FAULTS 41: one holds the lease, the other says who does."""
    with lease(workspace.dataset("shapes").lease), pytest.raises(ResumableError, match="in use by process"):
        ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)


def test_progress_ends_at_the_number_of_videos(workspace, shapes_videos):
    seen = []
    ingest(
        workspace,
        str(shapes_videos),
        "shapes",
        CONFIG,
        progress=lambda done, total, note: seen.append((done, total, note)),
    )
    decoding = [(done, total) for done, total, note in seen if note == "decoding"]
    assert decoding == sorted(decoding) and decoding[-1] == (12, 12)


def test_no_clip_of_a_real_file_crosses_a_cut(workspace, lavfi, tmp_path):
    graph = "color=navy:size=64x64:rate=16:duration=1.7[a];color=orange:size=64x64:rate=16:duration=2.3[b];[a][b]concat"
    for number in range(2):
        lavfi(tmp_path / "videos" / f"{number}.mp4", f"{graph},drawbox=x={number * 8}:y=0:w=8:h=8:color=white:t=fill")
    report = ingest(workspace, str(tmp_path / "videos"), "cuts", changed(min_motion=0, labels="none"))
    assert report.left_out["cut"] == 2
    dataset = load_dataset(workspace, "cuts")
    for split in ("train", "heldout"):
        clips = ClipSet(workspace.dataset("cuts"), dataset, split)
        assert len(clips) == 3
        for clip_CTHW in clips.read(range(3)):
            assert np.ptp(clip_CTHW.mean(axis=(0, 2, 3))) < 5, "one colour from the first frame to the last"


def test_every_listed_file_is_accepted_rejected_or_known(workspace, videos):
    def counts(**fields):
        report = ingest(workspace, str(videos), "shapes", changed(max_missing=1.0, max_rejected=1.0, **fields))
        assert listed() == report.videos_accepted + report.videos_rejected + report.videos_unchanged
        return report.videos_accepted, report.videos_rejected, report.videos_unchanged

    def listed():
        return len(list(videos.rglob("*.mp4")))

    good = sorted(videos.rglob("*.mp4"))
    shutil.copy(good[0], videos / "left" / "copy.mp4")
    for number in range(2):
        (videos / f"bad-{number}.mp4").write_text("the same bad bytes")
    os.mkfifo(videos / "pipe.mp4")
    assert counts() == (13, 3, 0)
    assert counts() == (0, 1, 15), "a pipe is never opened, so it is met anew each time"
    shutil.copy(good[1], videos / "left" / "second.mp4")
    shutil.copy(videos / "bad-0.mp4", videos / "bad-2.mp4")
    (videos / "new.mp4").write_text("other bad bytes")
    assert counts() == (0, 2, 17)
    good[2].unlink()
    assert counts() == (0, 1, 17)
    sidecar = videos / "labels.jsonl"
    rows = [json.dumps({"path": str(path.relative_to(videos)), "label": "a"}) for path in good[3:]]
    sidecar.write_text("\n".join(rows))
    assert counts(labels="sidecar", sidecar=str(sidecar)) == (9, 9, 0)
    sidecar.write_text("\n".join(rows[1:]))
    assert counts(labels="sidecar", sidecar=str(sidecar)) == (0, 10, 8)
