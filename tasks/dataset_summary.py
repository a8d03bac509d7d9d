"""What an ingest did and what the dataset is now, as Markdown for the Prefect UI."""

from __future__ import annotations

from collections.abc import Iterable

from vgan.data.inspection.page import LEFT_OUT, duration, headline, listed
from vgan.data.inspection.summary import DatasetSummary, Histogram
from vgan.logs import one_line
from vgan.progress import counted
from vgan.records import IngestReport

LABELS_SHOWN = 50
BAR_LETTERS = 24
MARKUP = set("\\`*_{}[]()<>#+!|~&$\"'")


def summary_markdown(report: IngestReport, summary: DatasetSummary) -> str:
    """Facts, counts and histograms; text from outside is shown literally."""
    parts = [
        f"**{literal(report.name)}** version {summary.number} "
        f"({'unchanged' if report.unchanged else counted(report.clips_new, 'new clip')}). {headline(summary)}",
        _table(("This ingest", ""), _did(report)),
        _labels(summary),
        _counted("Windows left out", {LEFT_OUT.get(why, why): count for why, count in summary.left_out.items()}),
        _counted("Rejected videos, by reason", summary.rejections),
        *(_bars(histogram) for histogram in summary.histograms.values()),
        _table(("Videos", ""), _kinds(summary)),
        f"Version `{report.dataset_digest}`",
    ]
    return "\n\n".join(part for part in parts if part)


def _did(report: IngestReport) -> list[tuple[str, str]]:
    return [
        ("accepted", counted(report.videos_accepted, "video")),
        ("rejected", f"{report.videos_rejected:,}"),
        ("known before", f"{report.videos_unchanged:,}"),
        ("dropped, because their files or labels have gone", f"{report.videos_dropped:,}"),
        ("relabelled", f"{report.videos_relabelled:,}"),
        ("copies that look the same, in the whole version", f"{report.near_duplicates:,}"),
        ("frames decoded", f"{report.frames_decoded:,}"),
    ]


def _kinds(summary: DatasetSummary) -> list[tuple[str, str]]:
    return [
        ("duration", duration(summary.seconds)),
        ("file endings", listed(summary.formats)),
        ("codecs", listed(summary.codecs)),
        ("colours", listed(summary.colours)),
        ("licences", listed(summary.licences)),
        ("consent", listed(summary.consents)),
        ("marks of making", listed(summary.marks)),
        ("groups of several", f"{summary.groups_of_several:,}, with {counted(summary.videos_in_groups, 'video')}"),
    ]


def _labels(summary: DatasetSummary) -> str:
    if not summary.labels:
        return ""
    counts = list(summary.labels.items())
    rows = [(label, f"{n.videos:,}", f"{n.train:,}", f"{n.heldout:,}") for label, n in counts[:LABELS_SHOWN]]
    if len(counts) > LABELS_SHOWN:
        rows.append((f"and {len(counts) - LABELS_SHOWN:,} more", "", "", ""))
    return _table(("label", "videos", "training clips", "held-out clips"), rows)


def _counted(title: str, counts: dict[str, int]) -> str:
    return _table((title, ""), [(name, f"{count:,}") for name, count in counts.items()]) if counts else ""


def _bars(histogram: Histogram) -> str:
    """A histogram as bars of letters, which every place that shows Markdown can show."""
    filled = [place for place, count in enumerate(histogram.counts) if count]
    if not filled:
        return ""
    most = max(histogram.counts)
    rows = list(histogram.bins())[filled[0] : filled[-1] + 1]
    lines = [f"{name:>16} {'█' * -(-count * BAR_LETTERS // most):<{BAR_LETTERS}} {count:,}" for name, count in rows]
    return "\n".join([f"{histogram.unit}:", "", "```", *lines, "```"])


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(literal(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def literal(text: str) -> str:
    """Text in one line that neither Markdown nor HTML takes as anything but text.

    By backslashes: one of Prefect's two interfaces shows entities of HTML as they are written.
    """
    escaped = "".join(f"\\{c}" if c in MARKUP else c for c in one_line(text))
    return escaped.replace("://", "\\://")  # no link
