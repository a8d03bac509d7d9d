"""Promises of `vgan inspect`: the page is there whole or not at all, and what cannot work says why."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_version import rejection, video, write_dataset
from typer.testing import CliRunner, Result

from flows.cli.app import app
from flows.cli.stages import print_ingest
from vgan.records import IngestReport
from vgan.workspace import Workspace

ANSI = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture
def made(workspace: Workspace) -> Workspace:
    """A dataset of two versions."""
    first = [video("a.mp4", label="up"), video("b.mp4", label="up", split="heldout")]
    write_dataset(workspace, [(first, [rejection(f"{ANSI}.mp4", ANSI, ANSI)])], number=1)
    write_dataset(workspace, [([*first, video("c.mp4", label="left")], [])], number=2)
    return workspace


def inspect(workspace: Workspace, *options: object) -> Result:
    words = ["inspect", "--workspace", str(workspace.root), "--name", "made", *map(str, options)]
    return CliRunner().invoke(app, words)


def test_it_writes_a_page_into_a_folder_that_is_not_there_yet(made: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "report.html"
    result = inspect(made, "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_text().startswith("<!doctype html>")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert "3 videos" in result.output


def test_it_replaces_no_pipe_and_no_link(made: Workspace, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.html"
    os.mkfifo(pipe)
    result = inspect(made, "--out", pipe)
    assert result.exit_code == 2 and "not a regular file" in " ".join(result.output.split()) and pipe.is_fifo()
    link.symlink_to(tmp_path / "page.html")
    assert inspect(made, "--out", link).exit_code == 0
    assert link.is_symlink() and link.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(("chosen", "videos"), [("1", 2), ("2", 3), ("digest", 3), (None, 3)])
def test_versions_are_named_by_number_or_digest(made: Workspace, chosen: str | None, videos: int) -> None:
    if chosen == "digest":
        chosen = json.loads(inspect(made, "--json").output)["dataset_digest"][:12]
    result = inspect(made, "--json", *(("--version", chosen) if chosen else ()))
    assert json.loads(result.output)["videos"] == videos


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [(("--version", "7"), 2, "7"), (("--out", "."), 2, "folder"), (("--out", "file/page.html"), 74, "page.html")],
)
def test_what_cannot_work_says_why(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    result = inspect(made, *options)
    assert result.exit_code == code, result.output
    assert said in result.output


def test_a_terminal_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """FAULTS 46: what ingest prints of rejected files has their escapes written out."""
    lost = rejection(f"{ANSI}.mp4", "no_video_stream", f"[b]{ANSI}")
    report = IngestReport(
        name="made", manifest="m", dataset_digest="d", number=1, unchanged=False, videos_accepted=1, videos_rejected=1,
        videos_unchanged=0, videos_dropped=0, videos_relabelled=0, near_duplicates=2, clips_train=1, clips_heldout=1,
        clips_new=2, left_out={"cut": 3}, shards=2, frames_decoded=1, seconds=1.0, rejections=(lost,),
    )  # fmt: skip
    print_ingest(report)
    printed = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in printed)
    assert "x1b[2J" in "".join(printed.split())
    assert "[b]" in "".join(printed.split())
    assert "3 cut" in printed
