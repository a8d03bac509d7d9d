"""Where everything lies under one root; the only place that joins these names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .config import NAME_PATTERN
from .errors import ConfigError, StorageError
from .remote import check_url, is_url

DEFAULT_ROOT = "./workspace"
ROOT_VARIABLE = "VGAN_WORKSPACE"
PUBLISHED_VARIABLE = "VGAN_DATASETS"
Missing = Literal["make", "refuse", "accept"]
BESIDE = 5  # workspaces that are named when one is missing, at most


@dataclass(frozen=True)
class DatasetFolder:
    """datasets/<name>/ and the files in it."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The current version: the commit point of ingest."""
        return self.path / "manifest.json"

    @property
    def shards(self) -> Path:
        """The tars that manifests name."""
        return self.path / "shards"

    @property
    def lease(self) -> Path:
        """Held by the one ingest that may write here."""
        return self.path / "lease.json"

    def version(self, digest: str) -> Path:
        """A kept version, by the digest of its manifest."""
        return self.path / "versions" / f"{digest}.json"

    def batch(self, digest: str) -> Path:
        """A batch that a manifest names, by the digest of its record."""
        return self.path / "batches" / f"{digest}.json"

    def pending(self, key: str) -> Path:
        """What a finished batch waits in for the commit, by the key of its plan."""
        return self.path / "pending" / f"{key}.json"

    @property
    def plan(self) -> Path:
        """The batches that the running ingest has to do, one BatchPlan a line."""
        return self.path / "plan.jsonl"

    @property
    def published(self) -> Path:
        """What this machine last saw of the dataset on VGAN_DATASETS."""
        return self.path / "published.json"

    def in_use(self, digest: str) -> Path:
        """Locked while a process of this machine reads the shards of a version; its time is that of the last use."""
        return self.path / "in-use" / digest

    def announced(self, digest: str) -> Path:
        """There when a version was announced to those who train, or taken by a training: its clips are not new."""
        return self.path / "announced" / digest

    @property
    def sources(self) -> Path:
        """What is known of files by name, size and time, so that only new ones are opened; may be lost."""
        return self.path / "sources.db"


@dataclass(frozen=True)
class RunFolder:
    """runs/<run-key>/ and the files in it."""

    path: Path

    @property
    def config(self) -> Path:
        """What was asked for, written before training starts."""
        return self.path / "config.json"

    @property
    def plan(self) -> Path:
        """How many clips it trains on, decided once at its beginning."""
        return self.path / "plan.json"

    @property
    def record(self) -> Path:
        """The TrainedRun: the commit point of training."""
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Training metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """How fast each attempt went, one JSON object a line; kept apart from the metrics, which are exact."""
        return self.path / "timing.jsonl"

    @property
    def progress(self) -> Path:
        """How far the present attempt is, for bars; written over every few seconds."""
        return self.path / "progress.json"

    @property
    def system(self) -> Path:
        """What the machine did while it trained, one JSON object a line."""
        return self.path / "system.jsonl"

    @property
    def generator(self) -> Path:
        """Folder with generator.json and weights.safetensors: the EMA generator, ready to use."""
        return self.path / "generator"

    @property
    def samples(self) -> Path:
        """Sample grids and clips."""
        return self.path / "samples"

    @property
    def contact_sheet(self) -> Path:
        """Picture of the finished generator's first clips, one clip a row."""
        return self.samples / "contact-sheet.png"

    @property
    def log(self) -> Path:
        """Standard output and error of the training process."""
        return self.path / "train.log"

    @property
    def init(self) -> Path:
        """What was taken over from the weights that the run started from; not there when it started from none."""
        return self.path / "init.json"

    @property
    def diverged(self) -> Path:
        """What was seen when training last met figures that are not finite; not there when it never did."""
        return self.path / "diverged.json"

    @property
    def lease(self) -> Path:
        """Held by the one training that may write here."""
        return self.path / "lease.json"

    @property
    def evaluation(self) -> Path:
        """The Evaluation: the commit point of evaluate."""
        return self.path / "evaluation.json"

    @property
    def champion_evaluation(self) -> Path:
        """The Evaluation of the champion on this run's held-out clips, when it had to be made."""
        return self.path / "champion-evaluation.json"

    @property
    def verdict(self) -> Path:
        """The Verdict of the last registration; not there before one."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """The self-contained page for people."""
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        """The model card, Markdown."""
        return self.path / "MODEL_CARD.md"


@dataclass(frozen=True)
class Workspace:
    """The root of everything that vgan writes."""

    root: Path
    published: str | None = None  # URL below which datasets are published for other machines; None: nowhere

    @classmethod
    def open(
        cls,
        root: str | os.PathLike[str] | None = None,
        *,
        write: bool = True,
        fetch: bool = True,
        missing: Missing = "make",
        sought: str = "",
    ) -> Workspace:
        """Take `root`, else VGAN_WORKSPACE, else ./workspace; create it and prove that it can be written.

        Datasets are published to the URL in VGAN_DATASETS, when there is one.

        Args:
            root: folder; None takes the environment's or the default.
            write: False to look at what is there, which may be mounted read-only; creates nothing.
            fetch: False to leave VGAN_DATASETS alone, from which looking at a dataset takes over what is published.
            missing: what to do about a folder that is not there: "make" it (unless nothing is to be written), "refuse"
                to go on, for work on what must be there already, or "accept" it as an empty one. With a VGAN_DATASETS
                "refuse" accepts it: what is fetched makes it.
            sought: what the caller will look for there, said in a refusal: "dataset 'mine'".

        Raises:
            ConfigError: for a URL (only local paths are supported), a VGAN_DATASETS that is none, or a folder that
                is not there and must be.
            StorageError: the folder cannot be created or written.
        """
        chosen = os.fspath(root) if root else os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT
        if is_url(chosen):
            raise ConfigError(
                "the workspace is a URL.",
                hint=f"Name a folder of this machine; {PUBLISHED_VARIABLE} may be a URL.",
            )
        path = Path(chosen).expanduser().absolute()
        published = os.environ.get(PUBLISHED_VARIABLE, "").strip() if fetch else ""
        if _is_folder(path):
            if write or published:  # what was published is fetched when it is looked at
                _prove_writable(path)
        elif write and missing == "make":
            _prove_writable(path)
        elif missing != "accept" and not published:
            raise _no_workspace(path, sought)
        if not published:
            return cls(path)
        try:
            return cls(path, check_url(published))
        except ConfigError as error:
            raise ConfigError(f"{PUBLISHED_VARIABLE}: {error.message}", hint=error.hint) from error

    def dataset(self, name: str) -> DatasetFolder:
        """Folder of a dataset; raises ConfigError for a name that is not one."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise ConfigError(
                f"{name!r} is not a dataset name.", hint="Use small letters, digits, '-' and '_', at most 63."
            )
        return DatasetFolder(self.root / "datasets" / name)

    def run(self, run: str) -> RunFolder:
        """Folder of a run; raises ConfigError for a key that is not one."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,127}", run):
            raise ConfigError(f"{run!r} is not a run key.", hint="`ls runs/` in the workspace shows the keys.")
        return RunFolder(self.root / "runs" / run)

    def initial(self, sha256: str) -> Path:
        """Weights that a run starts from, kept under their hash; their record is beside them."""
        return self.root / "initial" / f"{sha256}.safetensors"

    def real_side(self, dataset: str, key: str) -> Path:
        """What evaluations know of the real clips of a dataset, by its version, the protocol and the configuration."""
        return self.root / "evaluation" / dataset / f"{key}.safetensors"

    def model_lease(self, model_name: str) -> Path:
        """Lease of the one registration that may move this model's alias from this workspace."""
        return self.root / "leases" / f"model-{model_name}.json"

    def dataset_names(self) -> list[str]:
        """Names of the datasets that have a manifest, sorted."""
        return sorted(path.parent.name for path in self.root.glob("datasets/*/manifest.json"))

    def run_keys(self) -> list[str]:
        """Keys of the runs that finished training, sorted."""
        return sorted(path.parent.name for path in self.root.glob("runs/*/run.json"))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # one on the way to it may not be entered
        return False


def _no_workspace(path: Path, sought: str) -> ConfigError:
    """Says what was looked for and where, and which workspaces lie beside it: a name is easily mistyped."""
    beside = sorted(found.parent for found in path.parent.glob("*/datasets"))[:BESIDE]
    shown = [f"{other} (datasets: {', '.join(Workspace(other).dataset_names()) or 'none'})" for other in beside]
    there = f"Beside it: {'; '.join(shown)}. " if shown else ""
    return ConfigError(
        f"there is no workspace {path}{f' to look for {sought} in' if sought else ''}.",
        hint=f"{there}Name one with --workspace or {ROOT_VARIABLE}; `vgan ingest --videos FOLDER --name NAME` makes a "
        "new one.",
    )


def _prove_writable(path: Path) -> None:
    probe = path / f".writable-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        remedy = "mend its permissions" if path.is_dir() or not path.exists() else "move the file that is there"
        raise StorageError(
            f"workspace {path} cannot be written: {error.strerror}.",
            hint=f"Name another folder with --workspace or {ROOT_VARIABLE}, or {remedy}.",
        ) from error
