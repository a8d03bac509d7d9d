"""Starting from the weights of another run, also of another resolution, length or list of classes.

Tensors are matched by name and taken over where their shapes fit. Three things are known beyond names:

* Generators count their stages from the coarsest, discriminators from the finest; with unequal numbers of stages
  both are matched from the coarsest.
* A tensor that grows with the number of classes has its last places for them; these are matched by the class's name.
* Where the other run had fewer or more of something else, the tensor starts fresh.

A generator's weights become those of generator and average; a checkpoint also has the discriminator. Adam's moments
and the augmentation's probability start fresh: they belong to the other run's data and step sizes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from ..errors import ConfigError, CorruptDataError
from ..models.families import family
from ..models.network import ClipShape
from ..records import WarmStart
from ..storage import write_atomic
from ..workspace import Workspace
from .initial import Initial, read_initial
from .plan import RunConfig
from .step import TrainState

log = logging.getLogger(__name__)

IN_A_LIST = r"(.+?)\.(\d+)\.(.+)"  # the list, the place in it, and the tensor there
PARTS = ("generator", "average", "discriminator")
Tensors = dict[str, Tensor]


@dataclass
class Matched:
    """What fits of one network: values in the target's shapes, and the names of the lists in WarmStart."""

    values: Tensors = field(default_factory=dict[str, Tensor])
    taken: list[str] = field(default_factory=list[str])
    partly: list[str] = field(default_factory=list[str])
    fresh: list[str] = field(default_factory=list[str])


def take_over(workspace: Workspace, config: RunConfig, state: TrainState) -> WarmStart:
    """Put what fits of the run's initial weights into `state`, before its first step; writes runs/<run>/init.json.

    Raises:
        ConfigError: not one weight of the generator fits.
        CorruptDataError: the kept weights are damaged.
    """
    assert config.init_sha256 is not None
    initial, content = read_initial(workspace, config.init_sha256)
    sources = _parts(initial, content)
    matched = {
        part: match(sources[part], getattr(state, part).state_dict(), initial.labels, config, part) for part in PARTS
    }
    report = _report(initial, matched, sum(value.numel() for value in state.generator.state_dict().values()))
    if not any(value.dim() > 1 for value in matched["generator"].values.values()):
        raise ConfigError(
            f"no layer of {initial.source} fits the generator of this run.",
            hint="Train with the preset of those weights, or without --init.",
        )
    for part in PARTS:
        module: nn.Module = getattr(state, part)
        with torch.no_grad():
            for name, target in module.state_dict().items():
                if name in matched[part].values:
                    target.copy_(matched[part].values[name])
    write_atomic(workspace.run(config.run).init, report.to_json())
    _tell(report)
    return report


def _parts(initial: Initial, content: bytes) -> dict[str, Tensors]:
    """The tensors of each network; none of the discriminator when the source is a generator."""
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise CorruptDataError(f"the weights of {initial.source} are no safetensors file: {error}") from error
    if not initial.checkpoint:
        return {"generator": tensors, "average": tensors, "discriminator": {}}
    return {
        part: {
            name.removeprefix(f"{part}."): value
            for name, value in tensors.items()
            if name.startswith(f"{part}.") and ":" not in name  # "<parameter>:adam.<moment>" stays behind
        }
        for part in PARTS
    }


def match(source: Tensors, target: Tensors, labels: tuple[str, ...], config: RunConfig, part: str) -> Matched:
    """Values for a network, from those of another one.

    Args:
        source: the other network's tensors by name.
        target: this network's, fresh.
        labels: class names of the other network, in order.
        config: of this run.
        part: which network of PARTS.
    """
    renamed = _align(source, target, from_end=part == "discriminator")
    axes = label_axes(config, part)
    found = Matched()
    for name, fresh in target.items():
        value, shown = renamed.get(name), f"{part}.{name}"
        if value is None:
            found.fresh.append(shown)
        elif name in axes and labels != config.labels:
            mapped = _by_class(value, fresh, axes[name], labels, config.labels)
            if mapped is None:
                found.fresh.append(shown)
            else:
                found.values[name] = mapped
                common = [label for label in config.labels if label in labels]
                found.partly.append(f"{shown} (classes: {', '.join(common) or 'none'})")
        elif value.shape == fresh.shape:
            found.values[name] = value
            found.taken.append(shown)
        else:
            found.fresh.append(shown)
    return found


def _align(source: Tensors, target: Tensors, *, from_end: bool) -> Tensors:
    """The source's tensors under the target's names: in lists of unequal length, the coarsest entries correspond."""
    if not from_end:
        return source
    lengths, wanted = _list_lengths(source), _list_lengths(target)
    renamed: Tensors = {}
    for name, value in source.items():
        parts = re.match(IN_A_LIST, name)
        if parts and parts[1] in wanted:
            index = int(parts[2]) + wanted[parts[1]] - lengths[parts[1]]
            renamed[f"{parts[1]}.{index}.{parts[3]}"] = value
        else:
            renamed[name] = value
    return renamed


def _list_lengths(tensors: Tensors) -> dict[str, int]:
    """Length of each list of modules: "blocks.3.conv1.weight" makes it 4."""
    lengths: dict[str, int] = {}
    for name in tensors:
        if parts := re.match(IN_A_LIST, name):
            lengths[parts[1]] = max(lengths.get(parts[1], 0), int(parts[2]) + 1)
    return lengths


def label_axes(config: RunConfig, part: str) -> dict[str, int]:
    """Names of the tensors that grow with the number of classes, and along which axis.

    Found by building the network with one class more.
    """
    less, more = (_blank(config, part, len(config.labels) + extra) for extra in (0, 1))
    axes: dict[str, int] = {}
    for name, tensor in less.items():
        grown = [axis for axis, (a, b) in enumerate(zip(tensor.shape, more[name].shape, strict=True)) if a != b]
        if grown:
            axes[name] = grown[0]
    return axes


def _blank(config: RunConfig, part: str, labels: int) -> Tensors:
    kind = family(config.family)
    shape = ClipShape(**{**config.shape.model_dump(), "labels": labels})
    build: Callable[[Any, ClipShape], nn.Module] = kind.discriminator if part == "discriminator" else kind.generator
    network = config.network.discriminator if part == "discriminator" else config.network.generator
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        return build(network, shape).state_dict()


def _by_class(value: Tensor, fresh: Tensor, axis: int, were: tuple[str, ...], are: tuple[str, ...]) -> Tensor | None:
    """`value` with its classes in the order of `are`, new ones as in `fresh`; None when another axis differs."""
    rest = fresh.shape[axis] - len(are)
    other = [size for place, size in enumerate(value.shape) if place != axis]
    wanted = [size for place, size in enumerate(fresh.shape) if place != axis]
    if other != wanted or value.shape[axis] - len(were) != rest:
        return None
    mapped = fresh.detach().cpu().clone()
    mapped.narrow(axis, 0, rest).copy_(value.narrow(axis, 0, rest))
    for index, label in enumerate(are):
        if label in were:
            mapped.select(axis, rest + index).copy_(value.select(axis, rest + were.index(label)))
    return mapped


def _report(initial: Initial, matched: dict[str, Matched], whole: int) -> WarmStart:
    """Lists of names; the average's are those of the generator again and are left out."""
    shown = [matched["generator"], matched["discriminator"]]
    have = sum(value.numel() for value in matched["generator"].values.values())
    return WarmStart(
        source=initial.source,
        sha256=initial.sha256,
        taken=tuple(name for part in shown for name in part.taken),
        partly=tuple(name for part in shown for name in part.partly),
        fresh=tuple(name for part in shown for name in part.fresh),
        share=round(have / whole, 4),
    )


def _tell(report: WarmStart) -> None:
    log.info(
        "started from %s: %d tensors taken over, %d in part, %d fresh; %.0f %% of the generator",
        *(report.source, len(report.taken), len(report.partly), len(report.fresh), 100 * report.share),
    )
    for what, names in (("in part", report.partly), ("fresh", report.fresh)):
        for name in names:
            log.info("%s: %s", what, name)
