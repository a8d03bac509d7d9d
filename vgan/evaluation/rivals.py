"""The figures of two generators beside one another, where they may be compared at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..records import Evaluation, Metric

Side = Literal["first", "second"]
OF_NO_MATTER = {"fvd_weights"}  # of a configuration: where a file lies, which its hash names


@dataclass(frozen=True)
class Row:
    """One figure of both."""

    name: str
    first: Metric
    second: Metric
    ahead: Side | None  # who is better beyond the interval of the difference; None when that cannot be told


def differences(first: Evaluation, second: Evaluation) -> tuple[str, ...]:
    """Why the figures of two evaluations cannot be compared, in sentences; () when they can."""
    reasons: list[str] = []
    if first.dataset_digest != second.dataset_digest:
        one, other = (f"{held.dataset} {held.dataset_digest[:12]}" for held in (first, second))
        reasons.append(f"They were evaluated on other clips: {one} and {other}.")
    if first.protocol != second.protocol:
        reasons.append(f"They were evaluated by other protocols: {first.protocol} and {second.protocol}.")
    ours, theirs = (held.config.model_dump(exclude=OF_NO_MATTER) for held in (first, second))
    reasons += [
        f"They were evaluated with other settings: {field} {ours[field]} and {theirs[field]}."
        for field in ours
        if ours[field] != theirs[field]
    ]
    return tuple(reasons)


def rows(first: Evaluation, second: Evaluation) -> tuple[Row, ...]:
    """The figures that both have, in the order of the first; only for evaluations without `differences`."""
    others = {metric.name: metric for metric in second.metrics}
    both = [(metric, others[metric.name]) for metric in first.metrics if metric.name in others]
    return tuple(Row(one.name, one, other, _ahead(one, other)) for one, other in both)


def _ahead(first: Metric, second: Metric) -> Side | None:
    """Equal seeds draw the same real clips for both, so that the differences of their draws vary less than they do."""
    if len(first.draws) != len(second.draws):
        return None
    gain = np.subtract(second.draws, first.draws) * (1 if first.better == "lower" else -1)
    low, high = np.quantile(gain, (0.025, 0.975))
    return "first" if low > 0 else "second" if high < 0 else None
