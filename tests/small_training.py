"""Trainings that take no time: networks of a few channels for whatever is planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vgan.models.network import ClipShape, Drawing, R3Network
from vgan.training import plan

CHANNELS = 8


def _shrunk(value: Any) -> Any:
    """The same JSON with every list of channels, and every width of a hidden layer, made small."""
    if isinstance(value, dict):
        small = {name: _shrunk(inner) for name, inner in value.items()}
        return small | {name: CHANNELS for name in ("hidden", "features") if name in value}
    return [CHANNELS for _ in value] if isinstance(value, list) else value


@contextmanager
def small_networks() -> Iterator[None]:
    """Runs that are prepared inside have small networks; their training processes read them from config.json."""
    real = plan.r3_network

    def small(preset: str, shape: ClipShape, drawing: Drawing) -> R3Network:
        return R3Network.model_validate(_shrunk(real(preset, shape, drawing).model_dump(mode="json")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "r3_network", small)
        yield
