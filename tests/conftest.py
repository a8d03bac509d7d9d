"""Small real videos for all tests, made by the ffmpeg that vgan finds."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import bucket, s3_endpoint, s3_environment  # noqa: F401  fixtures

from vgan.data.shapes import write_videos
from vgan.media.ffmpeg import file_url, run
from vgan.workspace import Workspace

MakeVideo = Callable[..., Path]
# No test publishes to, or reads from, where the developer's own datasets lie.
for name in ("VGAN_DATASETS", "VGAN_CACHE_GB", "VGAN_WORKSPACE", "VGAN_C2PA_CERTIFICATE", "VGAN_C2PA_KEY"):
    os.environ.pop(name, None)
# Nor signs with the developer's own certificate.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="vgan-tests-config-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """`make_video(path, *arguments)` runs ffmpeg into `path` and returns it."""

    def make(path: Path, *arguments: str | Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = ["-loglevel", "level+error", "-y", "-threads", "1", *map(str, arguments), file_url(path)]
        _, finished = run(words, timeout=60)
        assert finished.returncode == 0, finished.stderr
        return path

    return make


@pytest.fixture(scope="session")
def lavfi(make_video: MakeVideo) -> MakeVideo:
    """`lavfi(path, graph, *arguments)` encodes a lavfi graph, as H.264 unless told otherwise."""

    def make(path: Path, graph: str, *arguments: str) -> Path:
        return make_video(path, "-f", "lavfi", "-i", graph, *(arguments or ("-pix_fmt", "yuv420p", "-g", "10")))

    return make


@pytest.fixture(scope="session")
def plain_video(lavfi: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a moving test picture, 64 x 48 at 10 per second, its index at the file's start."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    graph = "testsrc2=size=64x48:rate=10:duration=4"
    return lavfi(path, graph, "-pix_fmt", "yuv420p", "-g", "10", "-movflags", "+faststart")


@pytest.fixture(scope="session")
def shapes_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 shapes videos in two classes; not to be changed."""
    folder = tmp_path_factory.mktemp("shapes")
    write_videos(folder, num=12)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.open(tmp_path / "workspace")
