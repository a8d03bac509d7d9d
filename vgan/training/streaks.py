"""How many looks in a row (watch.py) have found the same: a part of the training state, so a resumed run knows it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Streaks:
    """Whole numbers on the CPU, whatever the networks are on."""

    collapsed: Tensor  # int64 []
    indistinguishable: Tensor  # int64 []

    @classmethod
    def start(cls) -> Streaks:
        """Before the first look."""
        return cls(torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64))

    @staticmethod
    def count(streak: Tensor, found: bool) -> None:
        """Lengthen a streak in place, or end it."""
        streak.copy_((streak + 1) * found)
