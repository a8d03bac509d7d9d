"""A batch in another version is, byte for byte, what would have been written so from the beginning."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vgan.config import IngestConfig
from vgan.data.batches.batch import ingest_batch
from vgan.data.batches.pending import finished_batch
from vgan.data.batches.revise import revise_batch
from vgan.data.batches.split import side_of
from vgan.data.decoding.taken import Refused, TakenClip, TakenVideo
from vgan.data.files.names import path_of
from vgan.data.manifest import shard_problems
from vgan.data.planning.plan import BatchPlan, Source, batch_key, write_plan_file
from vgan.data.shards.formats import encode_clip
from vgan.errors import CorruptDataError

CONFIG = IngestConfig(frames=2, height=16, width=16, labels="folder")
DIGESTS = [f"{number:x}" * 64 for number in range(1, 13)]


@dataclasses.dataclass
class MadePool:
    """Answers without decoding: each video has two clips of noise that depend on its digest alone."""

    workers: int = 3
    answers: dict = dataclasses.field(default_factory=dict)

    def take(self, request):
        digest = self.answers.get(request.digest_sha256, request.digest_sha256)
        if isinstance(digest, Refused):
            return digest
        seed = int(digest[:4], 16)
        clips = []
        with open(path_of(request.spool), "xb") as spool:
            for number in range(2):
                noise_CTHW = np.random.default_rng([seed, number]).integers(0, 256, (3, 2, 16, 16), np.uint8)
                payload = encode_clip(noise_CTHW, "npy", 8)
                clips.append(
                    TakenClip(
                        offset=spool.tell(),
                        size=len(payload),
                        start_seconds=float(number),
                        scene=0,
                        statistics={"brightness": 100.0, "contrast": 20.0, "motion": 4.0 + number},
                    )
                )
                spool.write(payload)
        return TakenVideo(
            digest_sha256=digest, size_bytes=9, content=f"c{digest[1:]}", fingerprint="", marks=(), codec="h264",
            width=64, height=64, fps=8.0, seconds=2.0, colour="bt709 limited", treatment=(), frames_decoded=16,
            decode_errors=0, clips=tuple(clips), left_out={"cut": 1},
        )  # fmt: skip


def source(digest, **fields):
    return Source(
        **({"digest_sha256": digest, "size_bytes": 9, "paths": (f"a/{digest[:4]}.mp4",), "label": "a"} | fields)
    )


def make(workspace, sources, *, heldout=0.3, name="made", pool=None):
    """The batch of these sources, as `ingest_batch` leaves it."""
    folder = workspace.dataset(name)
    config = CONFIG.model_copy(update={"heldout": heldout})
    sources = tuple(sorted(sources, key=lambda one: one.digest_sha256))
    plan = BatchPlan(key=batch_key(sources, config), root=str(workspace.root / "videos"), sources=sources)
    (place,) = write_plan_file(folder, [plan])
    done = ingest_batch(workspace, name, config, place, pool=pool or MadePool())
    batch = finished_batch(folder, plan.key)
    assert batch is not None and done.key == batch.key
    return folder, batch


def bytes_of(folder, batch):
    return [(folder.shards / shard.file).read_bytes() for shard in batch.shards]


def test_a_batch_holds_its_clips_in_the_order_of_the_videos(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    assert [video.digest_sha256 for video in batch.videos] == DIGESTS
    assert {video.split for video in batch.videos} == {"train", "heldout"}
    assert all(video.split == side_of(video.content, 0.3) for video in batch.videos)
    assert [shard.split for shard in batch.shards] == ["heldout", "train"]
    assert sum(shard.samples for shard in batch.shards) == 24 and batch.videos[0].motion == 4.5
    assert not any(shard_problems(folder.shards / shard.file, shard) for shard in batch.shards)
    assert not list(folder.shards.glob(".tmp-*"))


def test_the_number_of_workers_changes_nothing(workspace):
    made = [make(workspace, map(source, DIGESTS), name=f"w{n}", pool=MadePool(workers=n))[1] for n in (1, 8)]
    assert made[0] == made[1]


def test_leaving_videos_leave_no_trace(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    gone = [batch.videos[0].digest_sha256, batch.videos[5].digest_sha256, batch.videos[11].digest_sha256]
    revised = revise_batch(folder, batch, dict.fromkeys(gone))
    _, direct = make(workspace, [source(digest) for digest in DIGESTS if digest not in gone], name="direct")
    assert revised.shards == direct.shards and revised.videos == direct.videos
    assert not any(shard_problems(folder.shards / shard.file, shard) for shard in revised.shards)
    assert not any(shard_problems(folder.shards / shard.file, shard) for shard in batch.shards), "the old ones stay"


def test_labels_and_sides_are_those_of_a_batch_that_was_written_so(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    _, direct = make(workspace, [source(digest, label="b") for digest in DIGESTS], heldout=0.5, name="direct")
    asked = {video.digest_sha256: video for video in direct.videos}
    assert any(asked[video.digest_sha256].split != video.split for video in batch.videos)
    revised = revise_batch(folder, batch, asked)
    assert revised.shards == direct.shards and revised.videos == direct.videos


def test_only_the_affected_side_is_written_anew(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    victim = next(video for video in batch.videos if video.split == "train")
    (folder.shards / next(shard.file for shard in batch.shards if shard.split == "heldout")).unlink()
    with pytest.raises(Exception, match="heldout"):
        revise_batch(folder, batch, {victim.digest_sha256: victim.model_copy(update={"split": "heldout"})})
    folder, batch = make(workspace, map(source, DIGESTS), name="again")
    revised = revise_batch(folder, batch, {victim.digest_sha256: None})
    assert revised.shards[0] == batch.shards[0] and revised.shards[1] != batch.shards[1]


def test_names_and_licences_touch_no_shard(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    for path in folder.shards.iterdir():
        path.unlink()
    said = {"paths": ("other.mp4",), "licence": "CC0", "consent": "yes", "group": "another", "copies": (DIGESTS[0],)}
    changed = batch.videos[3].model_copy(update=said)
    revised = revise_batch(folder, batch, {changed.digest_sha256: changed})
    assert revised.shards == batch.shards and revised.videos[3] == changed


def test_an_empty_side_has_no_shard(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    held_out = {video.digest_sha256: None for video in batch.videos if video.split == "heldout"}
    revised = revise_batch(folder, batch, held_out)
    assert [shard.split for shard in revised.shards] == ["train"] and revised.shards[0] == batch.shards[1]
    assert revise_batch(folder, batch, dict.fromkeys(DIGESTS)).shards == ()


def test_a_shard_that_is_not_as_it_was_written_is_not_copied(workspace):
    folder, batch = make(workspace, map(source, DIGESTS))
    path = folder.shards / batch.shards[1].file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20_000])
    victim = next(video for video in batch.videos if video.split == "train")
    with pytest.raises(CorruptDataError):
        revise_batch(folder, batch, {victim.digest_sha256: None})


def test_a_file_that_was_replaced_after_the_plan_is_taken_as_what_it_is(workspace):
    """FAULTS 34: the record and the keys say which bytes were decoded, and the order is that of the digests."""
    replaced = {DIGESTS[0]: "f" * 64, DIGESTS[7]: "0" * 64}
    folder, batch = make(workspace, map(source, DIGESTS), pool=MadePool(answers=replaced))
    now = sorted(replaced.get(digest, digest) for digest in DIGESTS)
    assert [video.digest_sha256 for video in batch.videos] == now
    named = [source(replaced.get(digest, digest), paths=(f"a/{digest[:4]}.mp4",)) for digest in DIGESTS]
    _, direct = make(workspace, named, name="direct")
    assert batch.shards == direct.shards and batch.videos == direct.videos
    assert not any(shard_problems(folder.shards / shard.file, shard) for shard in batch.shards)


def test_a_file_that_was_replaced_by_another_of_the_batch_is_its_copy(workspace):
    _, batch = make(workspace, map(source, DIGESTS[:4]), pool=MadePool(answers={DIGESTS[0]: DIGESTS[2]}))
    assert [video.digest_sha256 for video in batch.videos] == DIGESTS[1:4]
    assert batch.videos[1].paths == ("a/1111.mp4", "a/3333.mp4") and batch.videos[1].copies == ()


def test_refused_videos_are_tried_again_only_where_that_may_help(workspace):
    answers = {
        DIGESTS[1]: Refused(reason="too_short", detail="short"),
        DIGESTS[2]: Refused(reason="vanished", detail="gone", again=True),
    }
    _, batch = make(workspace, map(source, DIGESTS), pool=MadePool(answers=answers))
    assert [(one.reason, one.digest_sha256) for one in batch.rejections] == [
        ("too_short", DIGESTS[1]),
        ("vanished", None),
    ]
    assert len(batch.videos) == 10


def test_a_batch_that_fails_leaves_neither_record_nor_spool(workspace):
    class Failing(MadePool):
        def take(self, request):
            if request.digest_sha256 == DIGESTS[9]:
                raise CorruptDataError("the decoder is gone")
            return super().take(request)

    with pytest.raises(CorruptDataError, match="decoder is gone"):
        make(workspace, map(source, DIGESTS), pool=Failing(workers=1))
    folder = workspace.dataset("made")
    assert not list(Path(folder.shards).iterdir()) and not list(folder.path.rglob("pending/*.json"))
