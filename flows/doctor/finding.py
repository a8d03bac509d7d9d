"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What one check found; all but "ok" carries the remedy."""

    check: str
    state: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""
