"""What a network costs: its numbers, and the multiplications of one forward pass, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

OWN = "(itself)"  # what a network holds or does outside its modules


class Part(NamedTuple):
    """A module of a network."""

    name: str
    parameters: int
    macs: int  # multiply-accumulates of convolutions and matrix products in one forward pass


def network_cost(network: nn.Module, *inputs: Tensor | None) -> list[Part]:
    """Run the network once on `inputs` and count; the items of a list of modules are parts of their own.

    What is counted are the operations that really run, so a family needs no formulas of its own. Sums,
    activations and enlargements are left out: they cost memory traffic, not multiplications. A
    parameter that two parts share counts in the first.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    flops = counter.get_flop_counts()
    kind = type(network).__name__
    parts: list[Part] = []
    seen: set[nn.Parameter] = set()
    for name, module in _parts(network):
        own = set(module.parameters()) - seen
        seen |= own
        macs = sum(flops.get(f"{kind}.{name}", {}).values()) // 2  # a multiplication and an addition each
        parts.append(Part(name, sum(parameter.numel() for parameter in own), macs))
    rest = sum(parameter.numel() for parameter in set(network.parameters()) - seen)
    macs = counter.get_total_flops() // 2 - sum(part.macs for part in parts)
    return [*parts, Part(OWN, rest, macs)] if rest or macs else parts


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_children():
        if isinstance(module, nn.ModuleList):
            yield from ((f"{name}.{item}", child) for item, child in module.named_children())
        else:
            yield name, module
