"""Parameters of flows as people see them in the form: what each is called there.

Prefect takes a parameter's own name for its title, unless the type brings another.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from vgan.config import EvaluateConfig, IngestConfig, Name, RegisterConfig, SampleConfig, TrainConfig


def _titled(title: str) -> Any:
    return Field(json_schema_extra={"title": title})


Videos = Annotated[str, _titled("Videos")]
DatasetName = Annotated[Name, _titled("Dataset")]
TrainedRunKey = Annotated[str, _titled("Trained run")]
Model = Annotated[str, _titled("Model")]
OutputFolder = Annotated[str, _titled("Folder for the clips")]
WorkspaceFolder = Annotated[str | None, _titled("Workspace")]
NewClips = Annotated[Annotated[int, Field(ge=1, le=1_000_000_000)] | None, _titled("Retrain after so many new clips")]

IngestSettings = Annotated[IngestConfig, _titled("Ingest: from videos to clips")]
TrainSettings = Annotated[TrainConfig, _titled("Training")]
EvaluateSettings = Annotated[EvaluateConfig, _titled("Evaluation")]
RegisterSettings = Annotated[RegisterConfig, _titled("Registration")]
SampleSettings = Annotated[SampleConfig, _titled("Clips")]
