"""What a user can set, one frozen model per stage, each field with meaning, unit and bounds.

The same classes make the command line's options, the form in the Prefect UI and the
parameters logged to MLflow; a value that one door refuses, every door refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from .errors import ConfigError

MOST_HOURS = 1000  # of a budget
MOST_KCLIPS = 100_000  # of a budget; at the smallest batch its steps still have eight digits, as checkpoints' names do
JPEG_HEIGHT = 65_500  # more is no JPEG
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def _for_people(schema: dict[str, Any]) -> None:
    """Make a form of a schema: fields in the order in which they are defined, and their bounds in words.

    A database may keep the fields of a schema in another order, and a form may not show bounds.
    """
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position
        if bounds := _bounds(next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), field)):
            field["description"] += f" {bounds}"


def _bounds(field: dict[str, Any]) -> str:
    least, most, below = field.get("minimum"), field.get("maximum"), field.get("exclusiveMaximum")
    above, step = field.get("exclusiveMinimum"), field.get("multipleOf")
    most = below - 1 if below is not None and field["type"] == "integer" else most
    words = [f"{least:,} to {most:,}"] if least is not None and most is not None else []
    words += [f"more than {above:,}, at most {most:,}"] if above is not None and most is not None else []
    words += [f"a multiple of {step}"] if step is not None else []
    return ", ".join(words).capitalize() + "." if words else ""


class Spec(BaseModel):
    """Base of every configuration: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_for_people)


SpecT = TypeVar("SpecT", bound=Spec)


def _check_regex(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    return pattern


def _check_budget(text: str) -> str:
    Budget.parse(text)
    return text


Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="Small letters, digits, '-' and '_', at most 63; names the dataset and the registered model.",
    ),
]


class IngestConfig(Spec):
    """How videos become clips. Two ingests with equal fields make the same bytes."""

    frames: int = Field(default=16, title="Frames per clip", ge=2, le=256, description="Frames in one clip.")
    height: int = Field(
        default=64, title="Height in pixels", ge=16, le=1024, multiple_of=8, description="Height of a clip in pixels."
    )
    width: int = Field(
        default=64, title="Width in pixels", ge=16, le=1024, multiple_of=8, description="Width of a clip in pixels."
    )
    fps: float = Field(
        default=8.0,
        title="Frames per second",
        gt=0,
        le=120,
        description="Frames per second of a clip, chosen by presentation time.",
    )
    stride: float = Field(
        default=1.0,
        title="Stride in seconds",
        gt=0,
        le=3600,
        description="Seconds between the starts of two clips of one video.",
    )
    labels: Literal["none", "folder", "sidecar"] = Field(
        default="none",
        title="Labels",
        description="'folder' takes each video's parent folder as its class, 'sidecar' the label column of the sidecar "
        "file; 'none' trains without classes.",
    )
    sidecar: str | None = Field(
        default=None,
        title="Sidecar file",
        description="CSV or JSON-lines file (path or URL) with one row a video: path, and any of label, licence and "
        "consent, which are kept in the dataset.",
    )
    group_by: Annotated[str | None, AfterValidator(_check_regex)] = Field(
        default=None,
        title="Group by",
        description="Regular expression searched in each path; videos with equal matches "
        "(for example 'person\\d+') stay on the same side of the train/held-out split.",
    )
    heldout: float = Field(
        default=0.2,
        title="Held-out share",
        gt=0,
        le=0.5,
        description="Share of the content groups that is held out for evaluation.",
    )
    format: Literal["auto", "npy", "jpg", "mp4"] = Field(
        default="auto",
        title="Format of stored clips",
        description="How a clip is stored: 'npy' exact pixels, 'jpg' one strip of all frames at quality 95, 'mp4' "
        "H.264; 'auto' takes npy for clips of fewer than 256 x 256 pixels, else jpg.",
    )
    crop: Literal["centre", "borders"] = Field(
        default="centre",
        title="Crop",
        description="'centre' crops the middle of the picture to the clip's shape; 'borders' first takes off black "
        "bars.",
    )
    scene_threshold: float = Field(
        default=10.0,
        title="Scene cut threshold",
        gt=0,
        le=100,
        description="Cut score between chosen frames (0 to 100, much as ffmpeg's scdet) above which no clip goes on.",
    )
    min_motion: float = Field(
        default=0.2,
        title="Least motion",
        ge=0,
        le=255,
        description="Least mean change from frame to frame, in levels (0 to 255), of a clip that is kept; 0 keeps "
        "still ones.",
    )
    max_clips_per_video: int | None = Field(
        default=None,
        title="Most clips per video",
        ge=1,
        le=1_000_000,
        description="At most so many clips of one video, evenly spread over it; empty takes all.",
    )
    max_seconds: float = Field(
        default=14_400.0,
        title="Most seconds per video",
        gt=0,
        le=360_000,
        description="Seconds of one video that are read; the rest is left out.",
    )
    exclude_synthetic: bool = Field(
        default=False,
        title="Reject AI-generated videos",
        description="Reject videos that say by IPTC or C2PA metadata that they are AI-generated.",
    )
    missing: Literal["drop", "keep"] = Field(
        default="drop",
        title="Videos that have gone",
        description="What happens to known videos that are no longer in the folder: 'drop' leaves them out of the next "
        "version, 'keep' keeps their clips.",
    )
    max_missing: float = Field(
        default=0.5,
        title="Most videos that have gone, as a share",
        ge=0,
        le=1,
        description="Share of the folder's known videos that may have vanished before the run stops and asks.",
    )
    max_rejected: float = Field(
        default=0.5,
        title="Most rejected videos, as a share",
        ge=0,
        le=1,
        description="Share of new videos that may be rejected before the run stops and asks.",
    )
    follow_outside: bool = Field(
        default=False,
        title="Follow links out of the folder",
        description="Follow links that lead out of the videos' folder instead of rejecting them.",
    )
    videos_per_batch: int = Field(
        default=64,
        title="Videos per batch",
        ge=1,
        le=10_000,
        description="Videos in one batch: the unit of work, of retry and of commit.",
    )
    video_timeout: float = Field(
        default=1800.0,
        title="Timeout per video in seconds",
        gt=0,
        le=86_400,
        description="Seconds that the decoding of one video may take.",
    )
    workers: int | None = Field(
        default=None,
        title="Videos decoded at a time",
        ge=1,
        le=1024,
        description="Videos decoded at a time; empty takes one for each core. On a cluster: by each batch, and empty "
        "takes one.",
    )
    runner: Literal["threads", "dask", "ray"] = Field(
        default="threads",
        title="Runner",
        description="Where batches are decoded: 'threads' on this machine, 'dask' or 'ray' on a cluster whose machines "
        "all see the workspace. The clips are the same.",
    )
    runner_address: str | None = Field(
        default=None,
        title="Cluster address",
        max_length=500,
        description="Running cluster that 'dask' or 'ray' uses, such as tcp://10.0.0.5:8786 or ray://10.0.0.5:10001; "
        "empty starts one on this machine for the length of the run.",
    )

    @property
    def stored_format(self) -> Literal["npy", "jpg", "mp4"]:
        """`format` with 'auto' resolved: by the size of a clip alone, so that it is the same on every machine."""
        if self.format != "auto":
            return self.format
        return "npy" if self.height * self.width < 256 * 256 else "jpg"

    @model_validator(mode="after")
    def _check_sidecar(self) -> IngestConfig:
        if self.labels == "sidecar" and self.sidecar is None:
            raise ValueError("`labels` 'sidecar' needs the file: set `sidecar`")
        return self

    @model_validator(mode="after")
    def _check_runner(self) -> IngestConfig:
        if self.runner == "threads" and self.runner_address is not None:
            raise ValueError("`runner_address` is that of a cluster: set `runner` to dask or ray")
        return self

    @model_validator(mode="after")
    def _check_strip(self) -> IngestConfig:
        if self.stored_format == "jpg" and self.frames * self.height > JPEG_HEIGHT:
            raise ValueError(
                f"`format` 'jpg' keeps the frames of a clip below one another, at most {JPEG_HEIGHT} pixels in all, "
                f"and {self.frames} frames x {self.height} are more: set `format` to mp4 or npy"
            )
        return self


# Fields of IngestConfig that leave a video's clips as they are: changing them makes no other dataset version.
NOT_OF_CONTENT = {
    *("sidecar", "missing", "max_missing", "max_rejected", "follow_outside"),
    *("videos_per_batch", "video_timeout", "workers", "runner", "runner_address"),
}


class Budget(Spec):
    """How long to train: seconds of wall clock or thousands of clips shown to the discriminator."""

    seconds: float | None = None
    kclips: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read '90s', '15m', '2h' or '200kclips'; raises ValueError for anything else, and for more than a bound."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|kclips)", text.strip())
        if not match or float(match[1]) <= 0:
            raise ValueError(f"budget {text!r} is not like '90s', '15m', '2h' or '200kclips'")
        value = float(match[1])
        if match[2] == "kclips":
            budget = cls(kclips=value)
        else:
            budget = cls(seconds=value * {"s": 1, "m": 60, "h": 3600}[match[2]])
        if (budget.kclips or 0) > MOST_KCLIPS or (budget.seconds or 0) > MOST_HOURS * 3600:
            raise ValueError(f"budget {text!r} is more than {MOST_HOURS}h or {MOST_KCLIPS}kclips")
        return budget


class TrainConfig(Spec):
    """What to train and for how long; everything else follows from the preset and the data."""

    preset: Literal["tiny", "small", "base"] = Field(
        default="tiny",
        title="Preset",
        description="Size of the networks: 'tiny' for a CPU, 'small' and 'base' for a GPU.",
    )
    budget: Annotated[str, AfterValidator(_check_budget)] = Field(
        default="180s",
        title="Budget",
        description="How long to train: '90s', '15m', '2h', or '200kclips' (thousands of clips); at most "
        f"{MOST_HOURS}h or {MOST_KCLIPS}kclips.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="Where to train; 'auto' takes a GPU when there is one."
    )
    init: str | None = Field(
        default=None,
        title="Start from",
        description="Start from these weights instead of fresh ones: models:/NAME@ALIAS, models:/NAME/VERSION, the key "
        "of a run, or a checkpoint's file.",
    )
    seed: int = Field(default=0, title="Seed", ge=0, lt=2**31, description="Seed of every random choice of the run.")
    batch: int | None = Field(
        default=None, title="Clips per step", ge=2, le=4096, description="Clips in one step; empty takes the preset's."
    )
    augment: Literal["adaptive", "off"] = Field(
        default="adaptive",
        title="Augmentation",
        description="'adaptive' shifts and cuts out parts of the clips that the discriminator sees, more often the "
        "better it tells real from generated ones; 'off' never does.",
    )
    stop_on_collapse: bool = Field(
        default=False,
        title="Stop when collapsed",
        description="Stop, and fail, when the generator has collapsed to a few clips.",
    )
    stop_when_indistinguishable: bool = Field(
        default=False,
        title="Stop when indistinguishable",
        description="End before the budget is used up when a test on held-out clips can no longer tell them from "
        "generated ones.",
    )
    checkpoints: int = Field(
        default=10,
        title="Checkpoints",
        ge=1,
        le=1000,
        description="Checkpoints over the whole budget, evenly spaced; a killed run resumes at one.",
    )
    threads: int | None = Field(
        default=None,
        title="CPU threads",
        ge=1,
        le=1024,
        description="CPU threads for the networks; empty takes all cores.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Compile the networks",
        description="Compile the networks; 'auto' does so on a GPU, where it pays.",
    )
    deterministic: bool = Field(
        default=False,
        title="Deterministic",
        description="Use only operations that give the same bits again on a GPU, which is slower.",
    )
    processes: int | None = Field(
        default=None,
        title="Processes per machine",
        ge=1,
        le=1024,
        description="Training processes on this machine, each with its share of the batch; empty takes one for each "
        "GPU.",
    )
    nodes: int = Field(
        default=1,
        title="Machines",
        ge=1,
        le=1024,
        description="Machines that train together, all with the same workspace; each runs the same command with "
        "VGAN_NODE_RANK set, from 0.",
    )
    rendezvous: str | None = Field(
        default=None,
        title="Meeting place of the machines",
        pattern=r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$",
        description="Where several machines meet, as HOST:PORT: an address of the one with VGAN_NODE_RANK=0 and a free "
        "port of its own.",
    )

    @model_validator(mode="after")
    def _check_nodes(self) -> TrainConfig:
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError("`nodes` of more than one machine need a place to meet: set `rendezvous`")
        if self.rendezvous is not None and not 0 < int(self.rendezvous.rpartition(":")[2]) < 1 << 16:
            raise ValueError(f"`rendezvous` {self.rendezvous} has no port between 1 and 65535")
        return self


class EvaluateConfig(Spec):
    """How generated clips are compared with the held-out ones."""

    clips: int = Field(
        default=512,
        title="Clips to compare",
        ge=16,
        le=8192,
        description="Generated clips, and at most so many held-out ones, to compare.",
    )
    seed: int = Field(
        default=0, title="Seed", ge=0, lt=2**31, description="Seed of the samples and of every random choice of clips."
    )
    bootstrap: int = Field(
        default=100,
        title="Half-samples",
        ge=20,
        le=10_000,
        description="Random half-samples behind each figure, its floor and its 95 % interval.",
    )
    fvd_weights: str | None = Field(
        default=None,
        title="FVD weights",
        description="TorchScript file of the network behind FVD and KVD, as StyleGAN-V uses it; empty leaves both out. "
        "Such a file runs code: it is loaded only if it has the promised hash.",
    )
    fvd_sha256: str | None = Field(
        default=None,
        title="FVD SHA-256",
        pattern=r"^[0-9a-f]{64}$",
        description="sha256 of that file (64 hex digits). By giving it you promise that you know where the file is "
        "from, and that its code may run here.",
    )

    @model_validator(mode="after")
    def _check_fvd(self) -> EvaluateConfig:
        if (self.fvd_weights is None) != (self.fvd_sha256 is None):
            raise ValueError("`fvd_weights` and `fvd_sha256` belong together: give both or neither")
        return self


class RegisterConfig(Spec):
    """Where a model is registered and what it must beat."""

    model_name: Name | None = Field(
        default=None, title="Model name", description="Registered model; empty takes the dataset's name."
    )
    alias: str = Field(
        default="champion",
        title="Alias",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Alias that the best version carries.",
    )
    tolerance: float = Field(
        default=0.05,
        title="Tolerance",
        ge=0,
        le=1,
        description="By how much the guards (recall, memorisation, motion) may be worse than the champion's, beyond "
        "their 95 % interval: 0 is no worse, 1 as far off as real clips that were spoilt on purpose.",
    )
    force: bool = Field(
        default=False,
        title="Force the alias, against the gate",
        description="Give the alias to this model although it fails the gate, and record that; never with samples "
        "that are not finite.",
    )


class SampleConfig(Spec):
    """What to generate, and how it is written."""

    num: int = Field(
        default=16,
        title="Clips to generate",
        ge=1,
        le=100_000,
        description="Clips to generate; of a walk to another seed, its steps.",
    )
    seed: int = Field(
        default=0,
        title="Seed of the first clip",
        ge=0,
        lt=2**31,
        description="Seed of the first clip; the same seed gives the same clips.",
    )
    to_seed: int | None = Field(
        default=None,
        title="Walk to seed",
        ge=0,
        lt=2**31,
        description="Walk from the clip of the first seed to the clip of this one; empty gives each clip a seed of "
        "its own.",
    )
    label: str | None = Field(
        default=None,
        title="Class",
        description="Class to generate, by name; empty takes the classes in turn, and for a walk the first.",
    )
    fps: float | None = Field(
        default=None,
        title="Frames per second",
        gt=0,
        le=120,
        description="Frames per second of the files; empty takes the data's.",
    )
    frames: int | None = Field(
        default=None,
        title="Frames per clip",
        ge=2,
        le=10_000,
        description="Frames of a clip; empty takes as many as were trained. Longer clips go on moving, to and fro.",
    )
    truncation: float = Field(
        default=1.0,
        title="Truncation",
        gt=0,
        le=1,
        description="Scales the latent towards its mean: less variety and fewer bad clips the smaller it is; 1 is off.",
    )
    format: Literal["mp4", "gif", "webm", "npy"] = Field(
        default="mp4",
        title="Format",
        description="Kind of files: 'npy' has exact pixels, uint8 [frames, height, width, 3], and a .json beside each.",
    )
    codec: Literal["auto", "h264", "h265", "av1", "vp9"] = Field(
        default="auto",
        title="Codec",
        description="How an mp4 or webm is coded, by an encoder that this machine's ffmpeg has; 'auto' takes H.264 "
        "for mp4, VP9 for webm.",
    )
    grid: bool = Field(
        default=False,
        title="All clips side by side",
        description="Write one more film in which all clips play side by side; of npy clips an mp4.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="Where to generate; 'auto' takes a GPU when there is one."
    )
    certificate: str | None = Field(
        default=None,
        title="Certificate",
        description="PEM file of the certificate that signs the files' C2PA manifests; empty takes "
        "VGAN_C2PA_CERTIFICATE, else one that is made on this machine and trusted by nobody.",
    )
    key: str | None = Field(
        default=None,
        title="Private key",
        description="PEM file of the certificate's private key; empty takes VGAN_C2PA_KEY.",
    )

    @model_validator(mode="after")
    def _check_walk(self) -> SampleConfig:
        if self.to_seed is not None and (self.to_seed == self.seed or self.num < 2):
            raise ValueError("`to_seed` needs another seed than `seed`, and `num` at least 2 for both ends of the walk")
        return self

    @model_validator(mode="after")
    def _check_codec(self) -> SampleConfig:
        held = {"mp4": ("h264", "h265", "av1", "vp9"), "webm": ("vp9", "av1")}.get(self.format, ())
        if self.codec not in ("auto", *held):
            raise ValueError(f"`codec` {self.codec} is not for files of `format` {self.format}: leave it at auto")
        return self


def build(kind: type[SpecT], values: dict[str, Any], called: Callable[[str], str] | None = None) -> SpecT:
    """Validate `values`.

    Args:
        kind: of the configuration.
        values: by field.
        called: what the person who gave them calls a field, such as its option; None for its name.

    Raises:
        ConfigError: naming each bad field, what it allows and what it got.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        problems = "; ".join(_problem(item, called or str) for item in error.errors())
        raise ConfigError(f"bad value{'' if called else f' in {kind.__name__}'}: {problems}") from error


def _problem(item: ErrorDetails, called: Callable[[str], str]) -> str:
    """A bad field with its value; what several fields do wrong together names them in `backticks`."""
    said = re.sub(r"`(\w+)`", lambda name: called(name[1]), item["msg"].removeprefix("Value error, "))
    if not item["loc"]:
        return said
    first, *inner = map(str, item["loc"])
    return f"{'.'.join([called(first), *inner])}: {said} (got {item['input']!r})"
