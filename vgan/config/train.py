"""What to train, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .spec import Spec

MOST_HOURS = 1000  # of a budget
MOST_KCLIPS = 100_000  # of a budget; at the smallest batch its steps still have eight digits, as checkpoints' names do


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


def _check_budget(text: str) -> str:
    Budget.parse(text)
    return text


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
    drawing: Literal["auto", "sprites", "frames"] = Field(
        default="auto",
        title="Drawing",
        description="'sprites' draws things once a clip and moves them, for plain backgrounds; 'frames' draws every "
        "frame whole, for filmed scenes; 'auto' looks at the clips' backgrounds.",
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
