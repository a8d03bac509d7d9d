"""What a user can set, one frozen model per stage, each field with meaning, unit and bounds.

The same classes make the command line's options, the form in the Prefect UI and the
parameters logged to MLflow; a value that one door refuses, every door refuses.
"""

from __future__ import annotations

from .evaluate import EvaluateConfig
from .ingest import NOT_OF_CONTENT, IngestConfig
from .register import RegisterConfig
from .sample import SampleConfig
from .spec import NAME_PATTERN, Name, Spec, SpecT, build
from .train import Budget, TrainConfig

__all__ = [
    "NAME_PATTERN",
    "NOT_OF_CONTENT",
    "Budget",
    "EvaluateConfig",
    "IngestConfig",
    "Name",
    "RegisterConfig",
    "SampleConfig",
    "Spec",
    "SpecT",
    "TrainConfig",
    "build",
]
