"""Secrets of the environment stay in the environment."""

import os
import subprocess
import sys

import pytest
from ingesting import ROOT

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket",
    "PREFECT_API_KEY": "canary-of-the-server",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-the-registry",
}


def vgan(workspace, *words):
    command = [sys.executable, "-c", "from flows.cli.app import main; main()", *words, "--workspace", workspace.root]
    environment = {**os.environ, **SECRETS}
    return subprocess.run([*map(str, command)], check=False, cwd=ROOT, env=environment, capture_output=True)


@pytest.fixture
def videos(shapes_videos, tmp_path):
    """Good videos and a bad one."""
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "good").symlink_to(shapes_videos)
    (folder / "bad.mp4").write_text("no video")
    return folder


def test_what_the_commands_say_and_write_holds_no_secret(workspace, videos, tmp_path):
    """FAULTS 45: neither the outputs of ingest and inspect nor a failure's message hold what the environment does."""
    size = ("--frames", "8", "--height", "16", "--width", "16")
    runs = [
        vgan(workspace, "ingest", "--videos", videos, "--name", "shapes", "--follow-outside", *size),
        vgan(workspace, "inspect", "--name", "shapes", "--out", tmp_path / "page.html"),
        vgan(workspace, "ingest", "--videos", videos / "bad.mp4", "--name", "none", *size),
    ]
    assert [done.returncode for done in runs] == [0, 0, 65], runs[0].stderr
    written = [path for path in workspace.root.rglob("*") if path.is_file()] + [tmp_path / "page.html"]
    assert {path.suffix for path in written} >= {".json", ".tar", ".db", ".html"}
    said = [part for done in runs for part in (done.stdout, done.stderr)]
    assert not [text for text in (*said, *(path.read_bytes() for path in written)) if b"canary" in text]
