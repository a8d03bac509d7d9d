"""Hundreds of damaged files, each thrown at the real decoding workers."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from vgan.config import IngestConfig
from vgan.data.decoding.pool import DecoderPool
from vgan.data.decoding.taken import Refused, TakenVideo, TakeRequest
from vgan.data.shards.formats import decode_clip
from vgan.storage import process_start, sha256_file

MUTATIONS = 500
CONFIG = IngestConfig(frames=4, fps=10.0, height=16, width=16, stride=0.3, min_motion=0.0, video_timeout=60.0)
CONTAINERS = {
    "mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5"),
    "mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5"),
    "webm": ("-c:v", "libvpx", "-b:v", "200k"),
    "avi": ("-c:v", "mpeg4", "-q:v", "5"),
    "ts": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5"),
    "flv": ("-c:v", "flv", "-q:v", "5"),
}


@pytest.fixture(scope="module")
def seeds(lavfi, tmp_path_factory):
    """One sound file of each container, as (its ending, its bytes)."""
    folder = tmp_path_factory.mktemp("seeds")
    graph = "testsrc2=size=64x48:rate=10:duration=1.5"
    paths = [lavfi(folder / f"seed.{ending}", graph, *arguments) for ending, arguments in CONTAINERS.items()]
    return [(path.suffix, path.read_bytes()) for path in paths]


def mutate(seeds, number):
    """The file of this number: (its ending, its bytes)."""
    chance = random.Random(number)
    ending, sound = seeds[number % len(seeds)]
    content = bytearray(sound)
    kind = chance.choice(("flip", "flip", "header", "truncate", "splice", "insert", "zero", "repeat"))
    if kind == "flip":
        for _ in range(chance.choice((1, 3, 10, 60))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "header":
        for _ in range(chance.randrange(1, 8)):
            content[chance.randrange(min(400, len(content)))] = chance.randrange(256)
    elif kind == "truncate":
        del content[chance.randrange(len(content)) :]
    elif kind == "splice":
        other = chance.choice(seeds)[1]
        content[chance.randrange(len(content)) :] = other[chance.randrange(len(other)) :]
    elif kind == "insert":
        place = chance.randrange(len(content))
        content[place:place] = chance.randbytes(chance.choice((1, 7, 500)))
    else:
        start = chance.randrange(len(content))
        end = min(len(content), start + chance.choice((4, 100, 3000)))
        content[start:end] = bytes(end - start) if kind == "zero" else content[start:end] * 2
    return ending, bytes(content)


def throw(pool, folder, number, ending, content):
    """Have one file taken; returns the outcome and the size of what it left in the spool."""
    path, spool = folder / f"{number}{ending}", folder / f"{number}.spool"
    path.write_bytes(content)
    digest = sha256_file(path)
    outcome = pool.take(TakeRequest(path=str(path), digest_sha256=digest, spool=str(spool), config=CONFIG))
    payloads = spool.read_bytes() if spool.exists() else None
    assert sha256_file(path) == digest
    path.unlink()
    spool.unlink(missing_ok=True)
    check(outcome, payloads, digest)
    return outcome


def check(outcome, payloads, digest):
    """A refusal gives its reason and leaves nothing; what is taken has true counts and whole clips."""
    if isinstance(outcome, Refused):
        assert outcome.reason.isidentifier() and outcome.detail.isprintable() and len(outcome.detail) <= 300
        assert payloads is None
        assert outcome.reason not in ("decode_timeout", "vanished", "changed_during_read")
        return
    assert isinstance(outcome, TakenVideo) and outcome.digest_sha256 == digest
    assert payloads is not None and outcome.clips
    assert [clip.offset for clip in outcome.clips] == [clip.size * n for n, clip in enumerate(outcome.clips)]
    assert sum(clip.size for clip in outcome.clips) == len(payloads)
    clip_CTHW = np.empty((3, CONFIG.frames, CONFIG.height, CONFIG.width), np.uint8)
    shown = set()
    for clip in outcome.clips:
        decode_clip(payloads[clip.offset : clip.offset + clip.size], "npy", clip_CTHW)
        assert clip.statistics["brightness"] == pytest.approx(clip_CTHW.mean(), abs=0.01)
        first = int(clip.start_seconds * CONFIG.fps + 0.1)
        shown |= set(range(first, first + CONFIG.frames))
    assert len(shown) <= outcome.frames_decoded <= 100, "each frame of a clip was decoded"


def test_hundreds_of_damaged_files_are_taken_with_true_counts_or_refused_with_a_reason(seeds, tmp_path):
    """FAULTS 18, 19, 20: no crash, no hang, no leaked process or file, whatever bytes a file is made of."""
    me = psutil.Process()
    before, files = {child.pid for child in me.children(recursive=True)}, me.num_fds()
    with DecoderPool(2) as pool, ThreadPoolExecutor(2) as threads:
        sound = [throw(pool, tmp_path, "sound", *seed) for seed in seeds]
        damaged = [mutate(seeds, number) for number in range(MUTATIONS)]
        outcomes = list(threads.map(lambda number: throw(pool, tmp_path, number, *damaged[number]), range(MUTATIONS)))
    assert [getattr(outcome, "frames_decoded", outcome) for outcome in sound] == [15] * len(seeds)
    reasons = Counter(getattr(outcome, "reason", "taken") for outcome in outcomes)
    assert reasons["taken"] > MUTATIONS // 10 < MUTATIONS - reasons["taken"], reasons
    assert not list(tmp_path.iterdir())
    assert not {child.pid for child in me.children(recursive=True) if process_start(child.pid)} - before
    assert me.num_fds() <= files
