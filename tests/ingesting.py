"""What tests of ingest share: a config, and views of what an ingest left behind."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vgan.config import IngestConfig
from vgan.data.decoding.pool import DecoderPool
from vgan.data.decoding.taken import Refused, TakenVideo, TakeRequest
from vgan.data.manifest import load_dataset, read_batches
from vgan.records import Video
from vgan.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
CONFIG = IngestConfig(frames=8, height=16, width=16, labels="folder", videos_per_batch=5, workers=2)
# Clips at which copies and different videos can be told apart by eye, too.
LARGER = IngestConfig(frames=8, height=64, width=64, workers=2)

INGEST = """
import sys
from vgan.config import IngestConfig
from vgan.data.ingest import ingest
from vgan.workspace import Workspace
config = IngestConfig(frames=8, height=16, width=16, labels="folder", videos_per_batch=5, workers=int(sys.argv[3]))
ingest(Workspace.open(sys.argv[1]), sys.argv[2], "shapes", config)
"""


def ingest_in_child(root: Path, videos: Path, *, workers: int = 2, **environment: str) -> int:
    """Run the ingest in a process of its own; returns its exit status."""
    arguments = [sys.executable, "-c", INGEST, str(root), str(videos), str(workers)]
    return subprocess.run(arguments, check=False, cwd=ROOT, env={**os.environ, **environment}).returncode


def state_of(workspace: Workspace, name: str = "shapes") -> dict[str, str]:
    """Every file of a dataset by its sha256, temporary ones too; not the cache of file times."""
    root = workspace.dataset(name).path
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    kept = [path for path in files if not path.name.startswith("sources.db")]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def videos_of(workspace: Workspace, name: str = "shapes") -> list[Video]:
    """The records of the current version."""
    dataset = load_dataset(workspace, name)
    return [video for batch in read_batches(workspace.dataset(name), dataset) for video in batch.videos]


def sides_of(workspace: Workspace, name: str = "shapes") -> dict[str, str]:
    """The side of every name."""
    return {path: video.split for video in videos_of(workspace, name) for path in video.paths}


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that workers are asked to take, from now on."""
    asked: list[str] = []
    take = DecoderPool.take

    def counting(pool: DecoderPool, request: TakeRequest) -> TakenVideo | Refused:
        asked.append(Path(request.path).name)
        return take(pool, request)

    monkeypatch.setattr(DecoderPool, "take", counting)
    return asked
