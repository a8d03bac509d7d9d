"""The figures of a step: computed on the device, read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor


class Figures(Mapping[str, float]):
    """A mapping from names to numbers that waits for the device at the first look, once for all of them.

    Args:
        tensors: [] each, on one device; not changed afterwards.
        known: numbers that the host has.
        before: called at the first look, such as to raise when they mean nothing.
    """

    def __init__(self, tensors: dict[str, Tensor], known: dict[str, float], before: Callable[[], None]) -> None:
        self._tensors, self._known, self._before = tensors, known, before
        self._read: dict[str, float] | None = None

    def _all(self) -> dict[str, float]:
        if self._read is None:
            self._before()
            stacked = torch.stack([value.float() for value in self._tensors.values()])
            values: list[float] = [value.item() for value in stacked.cpu()]
            self._read = dict(zip(self._tensors, values, strict=True)) | self._known
        return self._read

    def __getitem__(self, name: str) -> float:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._tensors, **self._known})

    def __len__(self) -> int:
        return len(self._tensors) + len(self._known)
