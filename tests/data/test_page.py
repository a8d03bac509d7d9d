"""Promises of the inspect page: whole in itself, every text shown as text, small, and the same for equal data."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest
from made_version import CONFIG, rejection, video, write_dataset

from vgan.config import IngestConfig
from vgan.data.inspection import page as module
from vgan.data.inspection.chosen import chosen_clips, spread
from vgan.data.inspection.examples import REJECTED_SHOWN
from vgan.data.inspection.page import inspect_page, shrink
from vgan.data.manifest import read_batches, write_batch
from vgan.errors import CorruptDataError
from vgan.records import Video
from vgan.workspace import Workspace

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x>"
ANSI = "\x1b[2J\x1b]0;owned\x07\u202egpj.exe"
PAGE_BYTES = 3_000_000


class Reader(HTMLParser):
    """Tags, everything that an attribute could fetch, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def videos(num: int, **fields: object) -> list[Video]:
    """`num` videos in two classes, every third held out."""
    sides = ("train", "train", "heldout")
    return [
        video(f"{number}.mp4", label=("left", "up")[number % 2], split=sides[number % 3], **fields)
        for number in range(num)
    ]


def page_of(workspace: Workspace, batches: Sequence[tuple[Sequence[Video], Sequence]], **settings: object) -> str:
    return inspect_page(workspace, write_dataset(workspace, batches, **settings))  # type: ignore[arg-type]


def test_hostile_names_are_shown_as_text(workspace: Workspace) -> None:
    """FAULTS 46: markup and terminal escapes in names, labels, licences and details are shown, never obeyed."""
    evil = video(
        "evil", paths=(f"{HOSTILE}.mp4", f"{ANSI}.mp4"), label=HOSTILE, licence=HOSTILE, consent=ANSI, codec=HOSTILE,
        colour=ANSI, treatment=(HOSTILE,), marks=(HOSTILE,), left_out={HOSTILE: 3}, group=HOSTILE,
    )  # fmt: skip
    other = video("other", label=ANSI, group=HOSTILE, split="train")
    lost = [rejection(f"{HOSTILE}{ANSI}", HOSTILE, ANSI), rejection(f"{ANSI}.mkv", ANSI, HOSTILE)]
    text = page_of(workspace, [([evil, other], lost)])
    page = Reader(text)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert page.tags.count("img") == 1, "only the contact sheet"
    assert page.sources and all(source.startswith("data:") for source in page.sources)
    assert HOSTILE in page.text
    assert r"\x1b[2J\x1b]0;owned\x07\x202egpj.exe" in page.text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_the_page_fetches_nothing(workspace: Workspace) -> None:
    text = page_of(workspace, [(videos(6), [])])
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(", text)


def test_clips_of_both_sides_and_of_every_label_play(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, [(videos(12), []), ([video("u.mp4", label="rare", split="train")], [])])
    clips = list(chosen_clips(workspace, dataset, 10))
    assert {(clip.split, clip.label) for clip in clips} == {
        ("train", "left"), ("train", "up"), ("heldout", "left"), ("heldout", "up"), ("train", "rare"),
    }  # fmt: skip
    assert len(clips) == len({clip.key for clip in clips}) == 10
    text = inspect_page(workspace, dataset, clips=10)
    assert Reader(text).tags.count("video") == 10
    films = re.findall(r'src="data:video/mp4;base64,([^"]+)"', text)
    assert all(base64.b64decode(film)[4:8] == b"ftyp" for film in films)


def test_clips_are_of_as_many_videos_as_there_are(workspace: Workspace) -> None:
    same = [video(f"{number}.mp4", label="up", clips=9) for number in range(5)]
    dataset = write_dataset(workspace, [(same[:4], []), (same[4:], [])])
    assert len({clip.source for clip in chosen_clips(workspace, dataset, 5)}) >= 4
    dataset = write_dataset(workspace, [(same, [])])
    assert len({clip.source for clip in chosen_clips(workspace, dataset, 5)}) == 5


def test_a_clip_is_shown_with_its_own_pixels_and_name(workspace: Workspace) -> None:
    from made_version import clip as pixels_of

    one, other = video("one", label="a", clips=3), video("two", label="b", split="heldout", clips=3)
    dataset = write_dataset(workspace, [([one, other], [])])
    for shown in chosen_clips(workspace, dataset, 6):
        source = one if shown.source == "one" else other
        assert shown.label == source.label
        expected = pixels_of(source, int(shown.start_seconds), CONFIG).transpose(1, 2, 3, 0)
        assert np.array_equal(shown.frames_THWC, expected)


def test_a_clip_is_shown_with_the_name_that_its_video_has_now(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, [([video("old.mp4", label="a"), video("other.mp4", label="b")], [])])
    folder = workspace.dataset(dataset.name)
    [batch] = read_batches(folder, dataset)
    renamed = [
        one.model_copy(update={"paths": tuple(p.replace("old", "new") for p in one.paths)}) for one in batch.videos
    ]
    ref = write_batch(folder, batch.model_copy(update={"videos": tuple(renamed)}))
    after = dataset.model_copy(update={"batches": (ref,)})
    assert after.digest() == dataset.digest(), "the shards are as they were"
    assert {clip.source for clip in chosen_clips(workspace, after, 4)} == {"new.mp4", "other.mp4"}


def test_clips_of_a_thousand_labels_are_of_as_many_labels_as_are_shown(workspace: Workspace) -> None:
    many = [video(f"{number}", label=f"label {number:04d}", clips=1) for number in range(40)]
    dataset = write_dataset(workspace, [(many, [])])
    assert len({clip.label for clip in chosen_clips(workspace, dataset, 8)}) == 8


@pytest.mark.parametrize(
    ("available", "num", "expected"),
    [([1, 5, 5], 6, [1, 3, 2]), ([2, 2], 9, [2, 2]), ([], 3, []), ([4], 0, [0]), ([3, 0, 3], 3, [2, 0, 1])],
)
def test_places_are_shared_out_as_equally_as_the_stocks_allow(
    available: list[int], num: int, expected: list[int]
) -> None:
    assert spread(available, num) == expected


def test_equal_data_show_an_equal_page_and_the_order_of_batches_leaves_no_trace(workspace: Workspace) -> None:
    groups = [video(f"g{number}", label="left", group=f"group {number // 2}", clips=1) for number in range(80)]
    lost = [rejection(f"{number}.avi") for number in range(30)]
    dataset = write_dataset(workspace, [(groups[:40], lost[:10]), (groups[40:], lost[10:])])
    page = inspect_page(workspace, dataset)
    assert page == inspect_page(workspace, dataset)
    turned = dataset.model_copy(update={"batches": dataset.batches[::-1]})
    assert module.examples(workspace.dataset("made"), turned) == module.examples(workspace.dataset("made"), dataset)


def test_rejections_are_listed_by_reason_and_the_rest_is_counted(workspace: Workspace) -> None:
    lost = [rejection(f"{number:03d}.avi", "too_short") for number in range(REJECTED_SHOWN + 7)]
    page = Reader(page_of(workspace, [(videos(3), [*lost, rejection("odd.avi", "decode_timeout")])]))
    assert "000.avi" in page.text
    assert f"{REJECTED_SHOWN:03d}.avi" not in page.text
    assert "and 7 more" in page.text
    assert "odd.avi" in page.text


def test_groups_of_several_are_listed_with_their_side(workspace: Workspace) -> None:
    same = [video(f"copy{number}.mp4", label="up", group="g", split="heldout") for number in range(3)]
    page = Reader(page_of(workspace, [(videos(3), []), (same, [])]))
    assert "copy0.mp4, copy1.mp4, copy2.mp4" in page.text
    assert "3 videos stand in 1 group of several" in page.text


@pytest.mark.e2e
def test_the_page_stays_small_however_large_the_clips_are(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Noise, which no codec makes smaller.

    def noise(of: Video, number: int, config: IngestConfig) -> np.ndarray:
        rng = np.random.default_rng(int(of.digest_sha256[:8], 16))
        return rng.integers(0, 256, (3, config.frames, config.height, config.width), np.uint8)

    monkeypatch.setattr("made_version.clip", noise)
    config = IngestConfig(frames=8, height=128, width=192, labels="folder", format="npy")
    lost = [rejection(f"{'long name ' * 20}{number}.avi", f"reason_{number % 9}", "x" * 300) for number in range(500)]
    text = page_of(workspace, [(videos(24, clips=1), lost)], config=config)
    assert Reader(text).tags.count("video") == 24
    assert len(text) < PAGE_BYTES


def test_a_version_without_labels_or_held_out_clips_has_a_page(workspace: Workspace) -> None:
    config = CONFIG.model_copy(update={"labels": "none"})
    text = page_of(workspace, [([video("one", clips=1)], [])], config=config)
    assert Reader(text).tags.count("video") == 1
    assert "Labels" not in Reader(text).text


def test_a_damaged_shard_is_named(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, [(videos(3), [])])
    shard = workspace.dataset("made").shards / dataset.shards[0].file
    content = shard.read_bytes()
    shard.chmod(0o644)
    shard.write_bytes(b"\x01" + content[1:])
    with pytest.raises(CorruptDataError, match=shard.name):
        inspect_page(workspace, dataset)
    shard.unlink()
    with pytest.raises(CorruptDataError, match="missing"):
        inspect_page(workspace, dataset)


def test_a_picture_is_made_smaller_by_the_mean_of_its_pixels() -> None:
    frames = np.arange(2 * 8 * 12 * 3, dtype=np.uint8).reshape(2, 8, 12, 3)
    smaller = shrink(frames, 2)
    assert smaller.shape == (2, 4, 6, 3)
    assert smaller[1, 3, 5].tolist() == np.round(frames[1, 6:8, 10:12].mean(axis=(0, 1))).tolist()
    assert shrink(frames, 3).shape == (2, 2, 4, 3)
