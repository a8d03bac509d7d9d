"""Whether a version may be registered, and whether it becomes champion. Pure functions of records.

A challenger meets the champion on the same held-out clips, seeds and protocol. Draw i of both used
the same real half, so the draws' differences are paired and vary far less than either figure does.
The 95 % interval of a difference holds the middle 95 % of its draws (delete-half jackknife, Shao
and Wu 1989, as in `calibration`). How far it can be trusted: it is about these held-out clips and
these two sets of weights. It says that other clips of the same source would most likely give the
same order; it says nothing of the same training with another seed, and since a better model must
lie beyond its upper end, about one comparison in forty of two equally good models still promotes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..records import Check, Evaluation, Metric, Outcome, Verdict
from .rivals import differences

__all__ = ["Verdict", "copying_below", "decide"]

COLLAPSED_BELOW = 0.05  # of the mean distance between real clips
# With fewer, one clip is more than 1/16 of a share such as recall, so that a guard moves by more than its default
# tolerance for a single clip.
FEWEST_A_SIDE = 16
MEMORISATION, COPIED = "memorisation", "copied"


def decide(
    challenger: Evaluation, champion: Evaluation | Check | None, *, tolerance: float = 0.05, force: bool = False
) -> Verdict:
    """Judge a version.

    Figures that are not finite, and samples that hardly differ or are copies of training clips, are
    refused. The first version of a name that passes becomes champion; a later one by a primary
    metric that is better beyond the interval and guards that are not.

    Args:
        challenger: the version to judge.
        champion: the present champion, evaluated on the same clips; None when there is none, and a check that
            stands for the comparison where there is one that no figures can be compared with.
        tolerance: by which a guard may surely be worse, in calibrated score (0 at the floor, 1 at the worst control).
        force: promote all the same, unless figures or samples are not finite.

    Raises:
        ValueError: the two were not evaluated on the same clips in the same way.
    """
    sound = (_finite(challenger), _variety(challenger), _originality(challenger))
    if isinstance(champion, Evaluation):
        _require_comparable(challenger, champion)
        rest = tuple(_comparison(challenger, champion, tolerance))
    else:
        rest = (champion or _first(challenger.metric(challenger.primary)),)
    return Verdict(
        run=challenger.run,
        rival=champion.run if isinstance(champion, Evaluation) else None,
        outcome=_outcome(sound, rest, force),
        tolerance=tolerance,
        checks=(*sound, *rest) if all(check.passed for check in sound) or force else sound,
    )


def _outcome(sound: tuple[Check, ...], rest: tuple[Check, ...], force: bool) -> Outcome:
    if all(check.passed for check in (*sound, *rest)):
        return "promoted"
    finite = sound[0].passed
    if force and finite:
        return "forced"
    return "registered" if all(check.passed for check in sound) else "refused"


def _first(figure: Metric) -> Check:
    reached = f"{figure.name} {figure.value:.4g}, where real clips reach {figure.floor:.4g}"
    return Check(
        name="first", passed=True, said=f"There is no champion to beat, so it is the first version: {reached}."
    )


def _finite(evaluation: Evaluation) -> Check:
    bad = [m.name for m in evaluation.metrics if not all(map(math.isfinite, _numbers(m)))]
    bad += [] if math.isfinite(evaluation.diversity) else ["diversity"]
    if not evaluation.finite:
        said = "Its samples are not finite: the network gives NaN or infinity."
    elif bad:
        said = f"Not all of its figures are finite: {', '.join(bad)}."
    else:
        said = "Its samples and figures are finite."
    return Check(name="finite", passed=evaluation.finite and not bad, said=said)


def _numbers(metric: Metric) -> Iterator[float]:
    yield from (metric.value, metric.low, metric.high, metric.floor, *metric.controls.values(), *metric.draws)
    yield metric.score or 0.0


def _variety(evaluation: Evaluation) -> Check:
    share = evaluation.diversity
    passed = share >= COLLAPSED_BELOW  # False for what is not a number
    said = (
        f"Its samples differ from one another: {share:.3g} of the variety of real clips."
        if passed
        else f"Its samples hardly differ from one another: {share:.3g} of the variety of real clips, and at least "
        f"{COLLAPSED_BELOW} is needed."
    )
    return Check(name="variety", passed=passed, said=said, figures=_kept(share=share, needed=COLLAPSED_BELOW))


def copying_below(figure: Metric) -> float:
    """The memorisation below which samples count as copies: half-way between copies and held-out clips."""
    return (figure.floor + figure.controls.get(COPIED, 0.0)) / 2


def _originality(evaluation: Evaluation) -> Check:
    """Whether the samples are no copies: nearer to real clips' distance from the training clips than to copies'."""
    found = [m for m in evaluation.metrics if m.name == MEMORISATION]
    if not found:
        required = MEMORISATION in evaluation.guards
        said = f"Whether its samples are copies of training clips was {'to be' if required else 'not'} looked at"
        said += ", and there is no figure of it." if required else "."
        return Check(name=MEMORISATION, passed=not required, said=said)
    figure = found[0]
    copies = round(figure.controls.get(COPIED, 0.0), 9)  # a copy is at no distance, but for rounding
    needed = copying_below(figure)
    figures = _kept(value=figure.value, needed=needed, floor=figure.floor, copied=copies)
    if copies >= figure.floor:
        said = "Copies of training clips cannot be told from held-out ones here, so nothing is said of copying."
        return Check(name=MEMORISATION, passed=True, said=said, figures=figures)
    passed = figure.value >= needed
    said = (
        f"Its samples are {'no' if passed else 'too near to'} copies of training clips: {MEMORISATION} "
        f"{figure.value:.3g}, where held-out clips reach {figure.floor:.3g} and copies {copies:.3g}; at least "
        f"{needed:.3g} is needed."
    )
    return Check(name=MEMORISATION, passed=passed, said=said, figures=figures)


def _comparison(challenger: Evaluation, champion: Evaluation, tolerance: float) -> Iterator[Check]:
    side = challenger.metric(challenger.primary).real_clips
    enough = side >= FEWEST_A_SIDE
    need = "" if enough else f", too few to rank two models: {FEWEST_A_SIDE} are needed"
    said = f"{side} held-out clips are on each side of a comparison{need}."
    yield Check(name="clips", passed=enough, said=said, figures=_kept(side=side, needed=FEWEST_A_SIDE))
    yield _primary(challenger.metric(challenger.primary), champion.metric(challenger.primary))
    for name in challenger.guards:
        yield _guard(name, challenger, champion, tolerance)


def _primary(ours: Metric, theirs: Metric) -> Check:
    gain, low, high = _interval(_worse(ours, theirs.draws) - _worse(ours, ours.draws))
    passed = low > 0  # False for what is not a number
    equal = ours.draws == theirs.draws
    said = "beats" if passed else "equals" if equal else "does not surely beat" if gain > 0 else "does not beat"
    reason = (
        f"It {said} the champion on {ours.name}: {ours.value:.4g} against {theirs.value:.4g} ({ours.better} is better, "
        f"real clips reach {ours.floor:.4g}), better by {gain:.4g}, 95 % interval {low:.4g} to {high:.4g}."
    )
    figures = _kept(
        challenger=ours.value, champion=theirs.value, floor=ours.floor, gain=gain, gain_low=low, gain_high=high
    )
    return Check(name=ours.name, passed=passed, said=reason, figures=figures)


def _guard(name: str, challenger: Evaluation, champion: Evaluation, tolerance: float) -> Check:
    """Not surely worse by more than the tolerance; better than real clips against one another counts as that."""
    try:
        ours, theirs = challenger.metric(name), champion.metric(name)
    except KeyError:
        return Check(name=name, passed=False, said=f"There is no figure of the guard {name} for both.")
    floor = _worse(ours, (ours.floor,))
    scale = _scale(ours)
    worse = np.maximum(_worse(ours, ours.draws), floor) - np.maximum(_worse(ours, theirs.draws), floor)
    loss, low, high = _interval(worse / scale)
    passed = low <= tolerance
    reason = (
        f"Guard {name}: {ours.value:.4g} against {theirs.value:.4g} ({ours.better} is better, real clips reach "
        f"{ours.floor:.4g}), worse by {loss:.3g} of its scale, 95 % interval {low:.3g} to {high:.3g}: "
        f"{'not surely' if passed else 'surely'} more than the tolerance of {tolerance:g}."
    )
    figures = _kept(
        challenger=ours.value, champion=theirs.value, floor=ours.floor,
        loss=loss, loss_low=low, loss_high=high, tolerance=tolerance,
    )  # fmt: skip
    return Check(name=name, passed=passed, said=reason, figures=figures)


def _scale(metric: Metric) -> float:
    """Distance from the floor to the worst control; where none is worse than it, the floor itself, else 1."""
    worst = max(_worse(metric, tuple(metric.controls.values())), default=0.0)
    floor = float(_worse(metric, (metric.floor,))[0])
    return float(worst - floor) if metric.score is not None and worst > floor else abs(floor) or 1.0


def _worse(metric: Metric, values: tuple[float, ...]) -> NDArray[np.float64]:
    """Values of a metric with its sign turned, where needed, so that more is worse."""
    return np.array(values, np.float64) * (1 if metric.better == "lower" else -1)


def _interval(differences_D: NDArray[np.float64]) -> tuple[float, float, float]:
    """(mean, low, high) of paired differences."""
    low, high = np.quantile(differences_D, (0.025, 0.975))
    return float(differences_D.mean()), float(low), float(high)


def _kept(**figures: float) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}


def _require_comparable(challenger: Evaluation, champion: Evaluation) -> None:
    reasons = [*differences(challenger, champion)]
    for field in ("primary", "guards", "heldout_clips", "generated_clips"):
        ours, theirs = getattr(challenger, field), getattr(champion, field)
        if ours != theirs:
            reasons.append(f"They differ in {field}: {ours} and {theirs}.")
    if not reasons and len(challenger.metric(challenger.primary).draws) != len(champion.metric(champion.primary).draws):
        reasons.append("Their draws are not as many.")
    if reasons:
        raise ValueError(f"evaluations are not comparable: {' '.join(reasons)}")
