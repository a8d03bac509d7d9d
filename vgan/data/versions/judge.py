"""Whether what an ingest made may become a version."""

from __future__ import annotations

from collections import Counter

from ...errors import BadInputError
from .making import Making
from .table import Arranged

KNOWN_SHARE = 0.05  # of all videos: so few bad ones never stop an ingest


def judge(making: Making, arranged: Arranged) -> None:
    """Raise BadInputError when no video can be used, too many new ones cannot, or none can be held out."""
    _judge_rejections(making, arranged)
    _judge_split(arranged)


def _judge_rejections(making: Making, arranged: Arranged) -> None:
    """Stop when too many of the new videos are bad; where many are known, a few bad new ones are no reason to."""
    plan, config = making.plan, making.config
    rejections = [*plan.rejections, *making.new_rejections]
    reasons = Counter(rejection.reason for rejection in rejections)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    example = f" For example {rejections[0].path}: {rejections[0].detail}." if rejections else ""
    if not arranged.rows:
        none = "the only video cannot" if len(rejections) == 1 else f"none of the {len(rejections):,} videos can"
        raise BadInputError(
            f"{none} be used ({listed}).{example}",
            hint=_remedy(reasons),
        )
    # What is never opened is found again each time: it is new only where everything is.
    bad = len(making.new_rejections) + (0 if making.origin else len(plan.rejections))
    new = making.accepted + bad
    if bad > config.max_rejected * new and bad > KNOWN_SHARE * (new + plan.unchanged):
        raise BadInputError(
            f"{bad} of {new} new videos cannot be used ({listed}), more than the allowed "
            f"{config.max_rejected:.0%}.{example}",
            hint=f"Mend the videos, or go on without them with --max-rejected {min(1.0, bad / new + 0.005):.2f}; "
            "what was decoded is kept.",
        )


def _remedy(reasons: Counter[str]) -> str:
    """What helps against the reason that is named most."""
    ((reason, _),) = reasons.most_common(1) or [("", 0)]
    if reason in ("too_short", "all_cut", "low_fps"):
        return "A clip needs --frames at --fps without a scene cut: shorter clips take shorter videos."
    if reason == "static":
        return "A lower --min-motion takes videos in which less moves; 0 takes them all."
    if reason == "no_label":
        return "Name each video in the sidecar with a label, or choose other --labels."
    return "What a player still shows, re-encoding as H.264 in mp4 often mends."


def _judge_split(arranged: Arranged) -> None:
    """Both sides must hold clips."""
    if len(set(arranged.sides.values())) < 2:
        raise BadInputError(
            f"{len(arranged.sides)} different video(s) (or groups of --group-by, or of copies that look the same) "
            "cannot be split into training and held-out.",
            hint="At least two different videos are needed.",
        )
