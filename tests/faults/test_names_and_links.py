import os
import socket

import pytest
from data.made_plans import CONFIG, carry_out, opened_below, write_files
from made_records import digest_of_name

from vgan.data.files.listing import list_videos
from vgan.data.files.names import path_of, text_of
from vgan.data.planning.plan import read_batch_plans
from vgan.data.planning.planner import plan_ingest
from vgan.records import Rejection
from vgan.workspace import Workspace

STRANGE = [
    b"line\nbreak.mp4",
    b"-i.mp4",
    b"%03d.mp4",
    b"http:x.mp4",
    b"file:x.mp4",
    b"a|b.mp4",
    b"quo'te\".mp4",
    "\N{VIDEO CAMERA}.mp4".encode(),
    b"\xff\xfe.mp4",
    rb"\udcff\udcfe.mp4",
    b" .mp4",
    b"$(touch marker).mp4",
    b"..x.mp4",
    b"x" * 251 + b".mp4",
]


def found_paths(workspace: Workspace, plan) -> list[str]:
    batches = read_batch_plans(workspace.dataset("made"), plan.batches)
    return sorted(path for batch in batches for source in batch.sources for path in source.paths)


def test_strange_names_are_listed_hashed_and_kept_as_text(workspace, tmp_path):
    """FAULTS 31: any name is processed; it is text in records, and leads back to the same file."""
    (tmp_path / "videos").mkdir()
    videos = os.fsencode(tmp_path / "videos")
    for name in STRANGE:
        with open(videos + b"/" + name, "wb") as file:
            file.write(b"content of " + name)
    plan = plan_ingest(workspace, tmp_path / "videos", "made", CONFIG)
    assert plan.rejections == ()
    paths = found_paths(workspace, plan)
    assert {os.fsencode(path_of(path)) for path in paths} == set(STRANGE)
    assert len(set(paths)) == len(STRANGE), "no two names share a text"
    for path in paths:
        path.encode()
        assert (
            Rejection.from_json(
                Rejection(path=path, digest_sha256=None, reason="x", detail=path).to_json(), "here"
            ).path
            == path
        )
    carry_out(workspace, plan)
    again = plan_ingest(workspace, tmp_path / "videos", "made", CONFIG)
    assert (again.batches, again.edits, again.unchanged) == ((), (), len(STRANGE))


@pytest.mark.parametrize(
    "name", [b"plain", b"\xff", rb"\udcff", rb"\udc5cudcff", rb"\\udc80\xff", rb"\udc5c", b"\\", rb"\u"]
)
def test_a_name_and_its_text_lead_to_each_other(name):
    """FAULTS 31: bytes that are no UTF-8, and names that look like their escapes."""
    text = text_of(os.fsdecode(name))
    text.encode()
    assert os.fsencode(path_of(text)) == name


def test_loops_end_and_links_that_lead_out_are_refused_unless_asked_for(tmp_path):
    """FAULTS 32: loop detected, outside targets refused unless --follow-outside."""
    videos = write_files(tmp_path / "videos", "in/x.mp4")
    outside = write_files(tmp_path / "outside", "y.mp4", "deep/z.mp4")
    (videos / "loop").symlink_to(".")
    (videos / "in" / "up").symlink_to("..")
    (videos / "self").symlink_to("self")
    (videos / "self.mp4").symlink_to("self.mp4")
    (videos / "there").symlink_to(outside)
    (videos / "file.mp4").symlink_to(outside / "y.mp4")
    (videos / "again.mp4").symlink_to("in/x.mp4")
    (outside / "back").symlink_to(videos)
    listing = list_videos(str(videos), follow_outside=False)
    assert [file.path for file in listing.files] == ["again.mp4", "in/x.mp4"]
    assert [(item.path, item.reason) for item in listing.rejections] == [
        ("file.mp4", "outside_root"),
        ("self.mp4", "unreadable"),
    ]
    listing = list_videos(str(videos), follow_outside=True)
    assert [file.path for file in listing.files] == [
        *("again.mp4", "file.mp4", "in/x.mp4", "there/deep/z.mp4", "there/y.mp4")
    ]


def test_a_root_that_is_a_link_is_followed(workspace, tmp_path):
    """FAULTS 32: the folder that the user names may itself be a link."""
    write_files(tmp_path / "real", "a/x.mp4")
    (tmp_path / "videos").symlink_to("real")
    listing = list_videos(str(tmp_path / "videos"), follow_outside=False)
    assert ([file.path for file in listing.files], listing.rejections) == (["a/x.mp4"], [])
    assert listing.root == str(tmp_path / "videos")


def test_hard_links_are_read_once_and_both_names_are_kept(workspace, tmp_path):
    """FAULTS 32: same inode counted once."""
    videos = write_files(tmp_path / "videos", "x.mp4", "other.mp4")
    (videos / "sub").mkdir()
    os.link(videos / "x.mp4", videos / "sub" / "link.mp4")
    with opened_below(videos) as opened:
        plan = plan_ingest(workspace, videos, "made", CONFIG)
    [batch] = read_batch_plans(workspace.dataset("made"), plan.batches)
    assert {source.paths for source in batch.sources} == {("other.mp4",), ("sub/link.mp4", "x.mp4")}
    assert {source.digest_sha256 for source in batch.sources} == {digest_of_name("x.mp4"), digest_of_name("other.mp4")}
    assert len(opened) == 2


def test_what_is_no_regular_file_is_never_opened(workspace, tmp_path, monkeypatch):
    """FAULTS 18: a folder, a pipe, a device or a socket that is named like a video; opening a pipe would hang."""
    videos = write_files(tmp_path / "videos", "good.mp4")
    (videos / "folder.mp4").mkdir()
    write_files(videos / "folder.mp4", "hidden.mp4")
    os.mkfifo(videos / "pipe.mp4")
    (videos / "device.mp4").symlink_to("/dev/zero")
    (videos / "pipe-link.mp4").symlink_to("pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(videos)  # the name of a socket must be short
        server.bind("socket.mp4")
        with opened_below(videos) as opened:
            plan = plan_ingest(workspace, videos, "made", CONFIG)
    assert [(item.path, item.reason) for item in plan.rejections] == [
        (path, "not_regular") for path in ("device.mp4", "folder.mp4", "pipe-link.mp4", "pipe.mp4", "socket.mp4")
    ]
    assert found_paths(workspace, plan) == ["good.mp4"]
    assert opened == ["good.mp4"]


def test_a_pipe_that_takes_a_files_place_after_the_listing_stops_nothing(workspace, tmp_path, monkeypatch):
    """FAULTS 18: nobody writes into the pipe, and the plan does not wait for it."""
    videos = write_files(tmp_path / "videos", "a.mp4", "b.mp4")
    real = list_videos

    def late(*arguments, **options):
        listing = real(*arguments, **options)
        (videos / "a.mp4").unlink()
        os.mkfifo(videos / "a.mp4")
        return listing

    monkeypatch.setattr("vgan.data.planning.planner.list_videos", late)
    plan = plan_ingest(workspace, videos, "made", CONFIG)
    assert [(item.path, item.reason) for item in plan.rejections] == [("a.mp4", "unreadable")]
    assert found_paths(workspace, plan) == ["b.mp4"]
