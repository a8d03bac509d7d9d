"""What ingest and training promise when something goes wrong: each promise has a test that says which it proves.

The docstring of such a test begins with `FAULTS`, the rows of PROMISES that it proves, and a colon.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PROMISES = {
    1: "a kill in the middle of a write leaves no final name",
    2: "a kill between shard and manifest shows nothing new",
    3: "a kill while a checkpoint is saved keeps the one before",
    4: "an exception in the middle of a shard discards it",
    5: "a full disk is told, and keeps what was there",
    6: "a limit on file sizes is told as a full disk is",
    7: "an output folder that is read-only or gone stops the work",
    8: "a training killed anywhere ends as an undisturbed one does",
    9: "a training that is asked to stop writes a checkpoint first",
    10: "Ctrl-C and a closed terminal leave no process behind",
    11: "a training killed from outside may be tried again",
    12: "memory that ran out is told with what was asked of it",
    13: "figures that are not finite are never learned from",
    14: "a training that has collapsed says so, and stops when asked to",
    15: "a damaged checkpoint is passed over, and never for a fresh start",
    16: "a pickle is no checkpoint",
    17: "another run's checkpoint is refused, field by field",
    18: "what is no video is refused, and what waits for ever is not opened",
    19: "a truncated file is never taken for a whole one",
    20: "damage in the middle is counted, or refused",
    21: "sound and cover art are no video",
    22: "one frame is one frame, and too few make no clip",
    23: "a variable rate is read by its times",
    24: "rotated and stretched pictures come out upright and square",
    25: "odd sizes keep their edges",
    26: "unusual colours are converted by a stated rule",
    27: "times begin at the first frame, whatever the container says",
    28: "small files that unfold to huge ones stay small",
    29: "a decoder that hangs is ended",
    30: "what is not installed is named, with the remedy",
    31: "any name is processed, and none is obeyed",
    32: "links neither loop nor lead outside, and hard links count once",
    33: "copies are stored once, on one side of the split",
    34: "a file that changes while it is read is told from what it was",
    35: "a playlist in disguise opens nothing",
    36: "a hostile tar is refused as a whole",
    37: "a damaged shard is named before training starts",
    38: "no URL or pickle out of a file is followed",
    39: "a registry or tracking server that is away stops no training and registers nothing twice",
    40: "what is done is decided by manifests, not by what Prefect remembers",
    41: "two at once never mix",
    42: "the lease of the dead is taken over, that of the living is not",
    43: "a clock that is wrong spoils nothing",
    44: "equal input makes equal bytes everywhere",
    45: "secrets of the environment stay there",
    46: "text out of a video or its name is shown, never obeyed",
    47: "no network is needed, and FVD is computed by the user's own file or not at all",
    48: "what is kept of an evaluation is a hint, checked before it is used",
}


def rows_of(docstring: str | None) -> set[int]:
    """Rows that a docstring begins with."""
    found = re.match(r"FAULTS (\d+(?:, \d+)*):", docstring or "")
    return {int(row) for row in found[1].split(", ")} if found else set()


def proven() -> dict[int, list[str]]:
    """Names of tests by row."""
    tests: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for row in rows_of(ast.get_docstring(node)):
                    tests.setdefault(row, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return tests


@pytest.mark.parametrize("row", PROMISES, ids=PROMISES.get)
def test_each_promise_has_a_test(row: int) -> None:
    assert proven().get(row), f"no test says `FAULTS {row}:` for: {PROMISES[row]}"


def test_rows_are_read_out_of_docstrings_that_begin_with_them() -> None:
    assert rows_of("FAULTS 5, 6: both") == {5, 6} and rows_of("FAULTS 44: one") == {44}
    assert rows_of("As FAULTS 5: not at the beginning") == rows_of("FAULTS 5 without a colon") == rows_of(None) == set()


def test_no_docstring_means_to_name_a_row_and_fails() -> None:
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node) or "").startswith("FAULTS"):
                assert rows_of(text) and max(rows_of(text)) <= 48, f"{path.name}::{node.name}: {text}"
