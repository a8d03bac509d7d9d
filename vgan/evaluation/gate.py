"""Whether a version may be registered, and whether it becomes champion. Pure functions of records."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Evaluation

COLLAPSED_BELOW = 0.05  # of the mean distance between real clips


@dataclass(frozen=True)
class Verdict:
    """What may happen to a version, and why, in sentences with the figures."""

    register: bool
    promote: bool
    reasons: tuple[str, ...]


def decide(challenger: Evaluation, champion: Evaluation | None) -> Verdict:
    """Judge a version.

    Samples that are not finite, or hardly differ from one another, are refused. The first version
    of a name becomes champion; a later one only by a better primary metric: equal is not better.

    Args:
        challenger: the version to judge.
        champion: the present champion, evaluated on the same clips; None when there is none.

    Raises:
        ValueError: the two were not evaluated on the same clips in the same way.
    """
    if refusals := _refusals(challenger):
        return Verdict(register=False, promote=False, reasons=refusals)
    figure = challenger.metric(challenger.primary)
    passed = f"Its samples are finite and differ from one another ({challenger.diversity:.2f} of real clips' variety)."
    if champion is None:
        return Verdict(True, True, (passed, f"It is the first version: {figure.name} {figure.value:.4g}."))
    _check_comparable(challenger, champion)
    other = champion.metric(challenger.primary)
    wins = figure.value < other.value if figure.better == "lower" else figure.value > other.value
    said = "beats" if wins else "equals" if figure.value == other.value else "does not beat"
    reason = (
        f"It {said} the champion on {figure.name}: {figure.value:.4g} against {other.value:.4g} "
        f"({figure.better} is better, real clips reach {figure.floor:.4g})."
    )
    return Verdict(True, wins, (passed, reason))


def _refusals(evaluation: Evaluation) -> tuple[str, ...]:
    reasons: list[str] = []
    if not evaluation.finite:
        reasons.append("Its samples are not finite: the network gives NaN or infinity.")
    # Not `<`: a diversity that is not a number must not pass.
    if not evaluation.diversity >= COLLAPSED_BELOW:
        reasons.append(
            f"Its samples hardly differ from one another: {evaluation.diversity:.3f} of the variety of real clips, "
            f"and at least {COLLAPSED_BELOW} is needed."
        )
    return tuple(reasons)


def _check_comparable(challenger: Evaluation, champion: Evaluation) -> None:
    for field in ("dataset_digest", "protocol", "config", "primary"):
        ours, theirs = getattr(challenger, field), getattr(champion, field)
        if ours != theirs:
            raise ValueError(f"evaluations are not comparable: {field} is {ours} here and {theirs} for the champion")
