"""What passes between stages: small, versioned, frozen JSON records of references and hashes.

No record holds a tensor, a frame, a wall-clock time that would change its digest, or an
absolute path of this machine. `digest` is the sha256 of the canonical JSON, so equal
content has an equal digest on every machine.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .config import NOT_OF_CONTENT, EvaluateConfig, IngestConfig, TrainConfig
from .errors import ConfigError, CorruptDataError

Split = Literal["train", "heldout"]
# Of the gate: the alias moves, it moves although a check failed, a version without the alias, or no version.
Outcome = Literal["promoted", "forced", "registered", "refused"]
REJECTIONS_SHOWN = 1000  # of an IngestReport; the batches hold all
INGEST_VERSION = 2  # of decoding, cutting and writing: with another, equal videos would give other bytes
SCHEMA: Literal[1] = 1  # of every record; a reader refuses newer ones
RecordT = TypeVar("RecordT", bound="Record")


def canonical_json(value: Any) -> bytes:
    """Bytes of `value` that do not depend on the machine, the locale or the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical JSON of a plain value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def recipe(config: IngestConfig) -> dict[str, Any]:
    """The part of a config that decides what the clips of a video are."""
    fields = config.model_dump(mode="json", exclude=NOT_OF_CONTENT)
    return fields | {"format": config.stored_format, "ingest_version": INGEST_VERSION}


class Record(BaseModel):
    """Base of every record; unknown fields are refused, so an old reader never half-reads a new record."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = SCHEMA

    def digest(self) -> str:
        """sha256 of the canonical JSON of this record."""
        return digest_of(self.model_dump(mode="json"))

    def to_json(self) -> bytes:
        """Indented JSON for a file that people also read."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls: type[RecordT], text: bytes | str, where: str) -> RecordT:
        """Parse a record.

        Raises:
            CorruptDataError: naming `where`, when it is not one.
            ConfigError: a newer vgan wrote it, and only a newer one can read it.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            refuse_newer(text, cls.__name__, where)
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole record"
            raise CorruptDataError(
                f"{where} is not a {cls.__name__} record of schema {SCHEMA}: {field}: {first['msg']}.",
                hint="Restore it from a backup or remove it and run the stage again.",
            ) from error


def refuse_newer(text: bytes | str, kind: str, where: str) -> None:
    """Raise ConfigError when `text` is a record of a schema that is newer than this code's."""
    try:
        schema: Any = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError, IndexError):
        return
    if isinstance(schema, int) and schema > SCHEMA:
        raise ConfigError(
            f"{where} was written by a newer vgan: it is a {kind} of schema {schema}, and this one reads {SCHEMA}.",
            hint="Upgrade vgan.",
        )


class Rejection(Record):
    """A file that was not taken, and why."""

    path: str  # relative to the videos' root, undecodable bytes as \\udcXX escapes (surrogateescape)
    digest_sha256: str | None  # of the file's bytes; None when it could not be read or the next ingest should try again
    reason: str  # a code, such as "no_video_stream"
    detail: str  # one line for a person, at most 300 characters


class Video(Record):
    """A video that was taken."""

    digest_sha256: str  # of the file's bytes
    paths: tuple[str, ...]  # every name under which this content was found, sorted
    copies: tuple[str, ...]  # sha256 of other files with the same pixels, such as remuxes, sorted
    size_bytes: int
    content: str  # sha256 of sampled frames' pixels: equal for a copy in another container
    fingerprint: str  # base64 of a small grey picture of the whole video, by which re-encoded copies are found
    group: str  # videos of one group stay on one side of the split
    split: Split
    label: str | None
    licence: str | None  # from the sidecar, as it says
    consent: str | None
    marks: tuple[str, ...]  # what the file says of its making: "c2pa", "c2pa-ai", "iptc-ai"
    codec: str
    width: int  # as shown: after rotation and in square pixels
    height: int
    fps: float
    seconds: float
    colour: str  # how its colours became 8-bit RGB, for example "bt709 limited" or "pq bt2020, tone-mapped"
    treatment: tuple[str, ...]  # what else was done: "rotated 90", "deinterlaced", "borders cropped", "alpha dropped"
    frames_decoded: int
    decode_errors: int
    clips: int
    motion: float  # mean of its clips' motion, in levels (0 to 255)
    left_out: dict[str, int]  # windows left out, by reason: "cut", "static", "black", "short", "surplus"


class Shard(Record):
    """One webdataset tar, named by its content."""

    file: str  # "<split>-<first 16 hex digits of the sha256>.tar" under shards/
    split: Split
    sha256: str
    size_bytes: int
    samples: int
    keys_sha256: str  # sha256 of the sample keys in order, one a line
    labels: dict[str, int]  # clips by label; {} without labels


class Batch(Record):
    """What became of one batch of videos: batches/<digest>.json."""

    key: str  # digest of the batch's plan: its sources, their names and labels, and the config
    videos: tuple[Video, ...]  # sorted by digest_sha256
    rejections: tuple[Rejection, ...]
    shards: tuple[Shard, ...]  # of the held-out clips, then of the training ones; clips in the order of `videos`

    def to_json(self) -> bytes:
        """Compact canonical JSON: its sha256 is the digest, so a file is checked without parsing it."""
        return canonical_json(self.model_dump(mode="json"))

    @staticmethod
    def digest_of_file(content: bytes) -> str:
        """The digest of the record whose `to_json` this is."""
        return hashlib.sha256(content).hexdigest()


class BatchRef(Record):
    """A batch as a manifest names it."""

    key: str
    record: str  # digest of the Batch record, and the name of its file
    videos: int
    rejections: int
    shards: tuple[Shard, ...]


class Dataset(Record):
    """A dataset version: the manifest. What it does not name does not exist.

    It stays small however many videos there are: their records lie in the batches that it names.
    """

    name: str
    number: int  # versions of a dataset are counted from 1; no part of the digest
    config: IngestConfig
    labels: tuple[str, ...]  # sorted class names; a label's index is its place here; () without labels
    batches: tuple[BatchRef, ...]  # sorted by key

    def digest(self) -> str:
        """sha256 of what training and evaluation see: recipe, classes and shards, in order.

        What videos are called, rejections and remarks are no part of it, so a renamed file asks for no retraining.
        """
        shards = [[shard.split, shard.sha256] for shard in self.shards]
        return digest_of({"name": self.name, "recipe": recipe(self.config), "labels": self.labels, "shards": shards})

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, in batch order."""
        return tuple(shard for batch in self.batches for shard in batch.shards)

    @property
    def videos(self) -> int:
        """Number of accepted videos."""
        return sum(batch.videos for batch in self.batches)

    @property
    def rejections(self) -> int:
        """Number of rejected files."""
        return sum(batch.rejections for batch in self.batches)

    def clips(self, split: Split) -> int:
        """Number of clips of one split."""
        return sum(shard.samples for shard in self.shards if shard.split == split)


class IngestReport(Record):
    """What one call of ingest did."""

    name: str
    manifest: str  # path of the manifest
    dataset_digest: str
    number: int  # of the version
    unchanged: bool  # True: the version is the one that was there before
    videos_accepted: int  # of this call; these three count files, every name, and their sum is what was listed
    videos_rejected: int  # of this call
    videos_unchanged: int  # known before, accepted or rejected
    videos_dropped: int  # left the dataset, because their files or labels have gone
    videos_relabelled: int  # known videos that have another label now
    near_duplicates: int  # videos of the whole version that share their group with a copy that looks the same
    clips_train: int  # of the whole version
    clips_heldout: int
    clips_new: int  # of the whole version, not in the version before
    left_out: dict[str, int]  # windows of this call's videos that made no clip, by reason
    shards: int
    frames_decoded: int  # source frames of this call
    seconds: float
    rejections: tuple[Rejection, ...]  # of the whole version, at most REJECTIONS_SHOWN


class GeneratorRecord(Record):
    """All that is needed to build and use a generator: generator.json beside its weights.safetensors."""

    family: str  # "r3"
    family_version: int = 1  # of the family's code: with another one the same weights make other clips
    network: dict[str, Any]  # the family's own configuration
    labels: tuple[str, ...]  # class names, () for an unconditional generator
    frames: int
    height: int
    width: int
    fps: float
    weights_sha256: str
    run: str
    dataset: str
    dataset_digest: str
    vgan_version: str


class WarmStart(Record):
    """What a run took over from other weights before its first step: runs/<run>/init.json."""

    source: str  # what the weights were, for example "models:/shapes/3" or "run shapes-1f0c, step 1200"
    sha256: str  # of their file
    taken: tuple[str, ...]  # tensors taken over whole, "<network>.<name>"
    partly: tuple[str, ...]  # tensors of which the part of the classes named behind was taken over
    fresh: tuple[str, ...]  # tensors that start fresh: not there, or of another shape
    share: float  # numbers of the generator that were taken over, of all


class TrainedRun(Record):
    """A finished training run: the commit record of runs/<run>/run.json."""

    run: str  # the run key: from dataset digest, config and training code version
    dataset: str
    dataset_digest: str
    config: TrainConfig
    device: str  # what it ran on, for example "cpu" or "NVIDIA H100 80GB HBM3"
    steps: int
    clips: int  # real clips shown to the discriminator: the budget, exactly, unless it stopped before
    seconds: float  # wall clock of all attempts together
    generator: GeneratorRecord  # of the EMA weights in runs/<run>/generator/
    git_commit: str | None
    init: WarmStart | None = None  # None: from fresh weights
    stopped: Literal["budget", "indistinguishable"] = "budget"  # why it ended: used up, or nothing left to learn
    warnings: tuple[str, ...] = ()  # what a user of the generator must know, such as that it has collapsed


class Metric(Record):
    """One figure with all that is needed to believe or doubt it."""

    name: str
    value: float
    low: float  # 95 % interval over half-samples
    high: float
    floor: float  # the same metric between two halves of the held-out real clips, at the same counts
    controls: dict[str, float]  # of clips spoilt on purpose ("frozen", "noise", ...) and of training clips ("copied")
    score: float | None  # calibrated: 0 at the floor, 1 at the worst control; None when no control is worse than that
    draws: tuple[float, ...]  # the value of each half-sample in order; the real halves are the same for every generator
    better: Literal["lower", "higher"]
    real_clips: int  # on each side of one comparison
    fake_clips: int


class Evaluation(Record):
    """The figures of one run on one dataset version by one protocol: runs/<run>/evaluation.json."""

    run: str
    weights_sha256: str
    dataset: str
    dataset_digest: str
    config: EvaluateConfig
    protocol: str  # names the code of the metrics: equal protocol, comparable figures
    heldout_clips: int  # held-out clips used
    generated_clips: int
    metrics: tuple[Metric, ...]
    probes: dict[str, float]  # exact probes of `shapes` data, {} for other data
    probes_real: dict[str, float]  # the same of the held-out clips
    finite: bool  # all samples finite
    diversity: float  # mean distance between samples over that between real clips, 0 when collapsed
    primary: str  # the metric that decides
    guards: tuple[str, ...]  # metrics that must not get worse
    halves: Literal["videos", "clips"] = "clips"  # what stayed whole when the held-out clips were cut in halves
    training_clips: int = 0  # among which copies were looked for
    timings: dict[str, float] = {}  # seconds by part of the work, of this machine and hour: no part of the digest

    def digest(self) -> str:
        """sha256 of all but the timings, so that evaluating again gives the same."""
        return digest_of(self.model_dump(mode="json", exclude={"timings"}))

    def metric(self, name: str) -> Metric:
        """The metric of that name; raises KeyError."""
        return next(m for m in self.metrics if m.name == name)


class Check(Record):
    """One question that the gate asked."""

    name: str  # "finite", "variety", "memorisation", "clips", "comparable", "first", or the name of a metric
    passed: bool
    said: str  # the answer, a sentence with its figures
    figures: dict[str, float | None] = {}  # what the answer rests on; None for what is not finite


class Verdict(Record):
    """What the gate made of a run: runs/<run>/verdict.json."""

    run: str
    rival: str | None  # run of the champion that it was compared with; None when it was compared with none
    outcome: Outcome
    tolerance: float  # by which a guard could be worse, in calibrated score
    checks: tuple[Check, ...]

    @property
    def register(self) -> bool:
        """Whether a version is made of it."""
        return self.outcome != "refused"

    @property
    def promote(self) -> bool:
        """Whether the alias moves to it."""
        return self.outcome in ("promoted", "forced")

    @property
    def reasons(self) -> tuple[str, ...]:
        """The answers, in sentences; of a forced promotion, and of a refusal, that it is one comes first."""
        failed = ", ".join(check.name for check in self.checks if not check.passed)
        first = (f"Promoted by force, against the gate, which failed it on: {failed}.",)
        return (*(first if self.outcome == "forced" else ()), *(check.said for check in self.checks))


class ModelVersion(Record):
    """A registered version and what the gate said."""

    model_name: str
    version: str
    run: str
    weights_sha256: str
    alias: str
    champion: bool  # carries the alias after this call
    unchanged: bool  # was registered before by an earlier call
    outcome: Outcome  # what the gate made of it when it was registered
    verdict: str  # the gate's reasons, in sentences
    model_uri: str  # "models:/<name>/<version>"
    mlflow_run_id: str
    tracking_uri: str


class RetrainReport(Record):
    """What one pass of the whole chain did."""

    ingest: IngestReport
    trained: TrainedRun
    evaluation: Evaluation
    model: ModelVersion
    stages: dict[str, Literal["done", "unchanged"]]  # by stage: "ingest", "train", "evaluate", "register"
    seconds: dict[str, float]  # wall clock by stage

    @property
    def nothing_to_do(self) -> str | None:
        """Why this pass had nothing to do, in a sentence; None when it did something."""
        if set(self.stages.values()) != {"unchanged"}:
            return None
        data, model = self.ingest, self.model
        return (
            f"Nothing to do: version {data.number} of `{data.name}` ({data.dataset_digest[:12]}) is trained with this "
            f"configuration as run {self.trained.run} and registered as version {model.version} of "
            f"`{model.model_name}`."
        )
