"""Promises of a dataset's summary: every video is counted once, the same way in every process."""

from __future__ import annotations

import tracemalloc

import pytest
from made_records import digest_of_name, keep_batch
from made_version import CONFIG, rejection, video, write_dataset

from vgan.data.inspection.summary import BINS, DatasetSummary, LabelCount, summarise
from vgan.data.manifest import new_version, plain_batches
from vgan.errors import CorruptDataError
from vgan.workspace import Workspace


@pytest.fixture
def summary(workspace: Workspace) -> DatasetSummary:
    """Two batches; every video differs from the others in what it counts towards."""
    first = [
        video("a.mp4", label="left", split="heldout", seconds=0.5, clips=1, left_out={"cut": 2}, licence="CC0"),
        video("b.MOV", label="left", paths=("b.MOV", "c.MOV"), copies=(digest_of_name("x"),), group="g", fps=23.976),
        video("d", label="up", group="g", height=2160, width=3840, motion=0.1, seconds=7200.0, marks=("c2pa",)),
    ]  # fmt: skip
    second = [
        video(
            "e.mp4",
            label="up",
            codec="av1",
            treatment=("rotated 90",),
            decode_errors=3,
            left_out={"cut": 1, "black": 4},
        )
    ]
    lost = [rejection("x.mp4", "too_short"), rejection("y.mp4", "too_short"), rejection("z.mp4")]
    dataset = write_dataset(workspace, [(first, lost[:1]), (second, lost[1:])], number=3)
    return summarise(workspace.dataset("made"), dataset)


def test_videos_clips_and_labels_are_counted(summary: DatasetSummary) -> None:
    assert (summary.name, summary.number, summary.videos, summary.files, summary.copies) == ("made", 3, 4, 5, 1)
    assert summary.clips == {"train": 6, "heldout": 1}
    assert summary.labels == {
        "left": LabelCount(videos=2, train=2, heldout=1),
        "up": LabelCount(videos=2, train=4, heldout=0),
    }
    assert (summary.groups, summary.groups_of_several, summary.videos_in_groups) == (3, 1, 2)
    assert summary.seconds == pytest.approx(7208.5)
    assert summary.videos_with_decode_errors == 1
    assert summary.shards == {"train": 2, "heldout": 1}
    assert all(summary.shard_bytes.values())


def test_what_is_said_of_videos_is_counted_from_the_most_common_down(summary: DatasetSummary) -> None:
    assert summary.rejections == {"too_short": 2, "no_video_stream": 1}
    assert summary.left_out == {"black": 4, "cut": 3}
    assert list(summary.codecs.items()) == [("h264", 3), ("av1", 1)]
    assert summary.formats == {".mp4": 2, ".mov": 1, "none": 1}
    assert summary.licences == {"": 3, "CC0": 1}
    assert summary.marks == {"c2pa": 1}
    assert summary.treatments == {"rotated 90": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("duration", {"0 to 1": 1, "2 to 5": 2, "3600 and more": 1}),
        ("fps", {"24 to 25": 1, "25 to 26": 3}),
        ("size", {"0 to 144": 3, "2160 and more": 1}),
        ("motion", {"0 to 0.2": 1, "3 to 4": 3}),
        ("clips", {"1 to 2": 1, "2 to 3": 3}),
    ],
)
def test_a_value_falls_into_the_bin_that_begins_at_or_below_it(
    summary: DatasetSummary, name: str, expected: dict[str, int]
) -> None:
    assert {label: count for label, count in summary.histograms[name].bins() if count} == expected


def test_every_histogram_holds_every_video(summary: DatasetSummary) -> None:
    assert set(summary.histograms) == set(BINS)
    assert {sum(histogram.counts) for histogram in summary.histograms.values()} == {summary.videos}


def test_a_lost_record_is_named_and_not_passed_over(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, [([video("a")], [])])
    path = workspace.dataset("made").batch(dataset.batches[0].record)
    path.unlink()
    with pytest.raises(CorruptDataError, match=path.name):
        summarise(workspace.dataset("made"), dataset)


def test_memory_grows_with_the_groups_and_not_with_the_records(workspace: Workspace) -> None:
    """Records are counted and forgotten: at no time is more than a part of them there."""
    folder = workspace.dataset("many")
    references = []
    for number in range(60):
        videos = [video(f"{number} {place}", group="one", clips=0) for place in range(200)]
        references.append(keep_batch(folder, digest_of_name(str(number)), videos, {}))
    dataset = new_version("many", 1, CONFIG, (), references)
    peaks: list[int] = []
    for work in (summarise, lambda *of: list(plain_batches(*of))):
        tracemalloc.start()
        work(folder, dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert summarise(folder, dataset).videos == 60 * 200
    assert peaks[0] < peaks[1] / 3, peaks  # some garbage waits to be collected
