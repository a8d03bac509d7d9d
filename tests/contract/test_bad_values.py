"""A bad value is refused at every door, under the name that the person at that door used."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import EvaluateConfig, IngestConfig, SampleConfig, TrainConfig, build
from vgan.errors import ConfigError

# Flow, its parameter, the configuration, the field, a value that it refuses.
BAD: list[tuple[str, str, type[BaseModel], str, Any]] = [
    ("train", "config", TrainConfig, "batch", 1),
    ("train", "config", TrainConfig, "batch", "many"),
    ("train", "config", TrainConfig, "budget", "soon"),
    ("train", "config", TrainConfig, "budget", "10000h"),
    ("train", "config", TrainConfig, "budget", "1000000000000kclips"),
    ("train", "config", TrainConfig, "budget", f"{'9' * 400}s"),
    ("train", "config", TrainConfig, "seed", 2**31),
    ("train", "config", TrainConfig, "drawing", "lines"),
    ("train", "config", TrainConfig, "augment", "maybe"),
    ("train", "config", TrainConfig, "compile", "perhaps"),
    ("train", "config", TrainConfig, "processes", 0),
    ("train", "config", TrainConfig, "checkpoints", 1001),
    ("ingest", "config", IngestConfig, "height", 33),
    ("ingest", "config", IngestConfig, "max_clips_per_video", 0),
    ("ingest", "config", IngestConfig, "group_by", "("),
    ("evaluate", "config", EvaluateConfig, "seed", 2**31),
    ("generate", "config", SampleConfig, "fps", 0),
    ("generate", "config", SampleConfig, "truncation", 1.5),
    ("generate", "config", SampleConfig, "to_seed", -1),
    ("generate", "config", SampleConfig, "format", "avi"),
    ("generate", "config", SampleConfig, "codec", "mpeg2"),
]
NEEDED = {
    "train": ["--name", "a"],
    "ingest": ["--videos", "v", "--name", "a"],
    "evaluate": ["--run", "r"],
    "sample": ["--model", "m", "--out", "o"],
}
ids = [f"{kind.__name__}.{field}={value}" for _, _, kind, field, value in BAD]


@pytest.mark.parametrize(("flow", "parameter", "kind", "field", "value"), BAD, ids=ids)
def test_the_command_line_names_the_option(flow, parameter, kind, field, value, tmp_path) -> None:
    command = {"generate": "sample"}.get(flow, flow)
    option = f"--{field.replace('_', '-')}"
    arguments = [command, *NEEDED[command], option, str(value), "--workspace", str(tmp_path / "w")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    assert option in result.output and kind.__name__ not in result.output
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(("flow", "parameter", "kind", "field", "value"), BAD, ids=ids)
def test_python_names_the_field(flow, parameter, kind, field, value) -> None:
    with pytest.raises(ConfigError, match=rf"^bad value in {kind.__name__}: {field}: .* \(got "):
        build(kind, {field: value})
    with pytest.raises(ValidationError, match=field):
        kind(**{field: value})


@pytest.mark.parametrize(("flow", "parameter", "kind", "field", "value"), BAD, ids=ids)
def test_prefect_names_the_field_of_the_form(flow, parameter, kind, field, value) -> None:
    from importlib import import_module

    from prefect.exceptions import ParameterTypeError

    given = {"name": "a", "videos": "v", "run": "r", "model": "m", "out": "o", parameter: {field: value}}
    deployed = getattr(import_module(f"flows.{flow}_flow"), flow)
    wanted = {name: text for name, text in given.items() if name in deployed.parameters.properties}
    with pytest.raises(ParameterTypeError, match=rf"{parameter}\.{field}"):
        deployed.validate_parameters(wanted)


def test_the_bounds_of_a_budget_are_told_before_and_after(tmp_path) -> None:
    said = TrainConfig.model_fields["budget"].description
    assert said is not None and "at most 1000h or 100000kclips" in said
    for most in ("1000h", "60000m", "3600000s", "100000kclips"):
        assert TrainConfig(budget=most).budget == most
    for more in ("1000.1h", "60001m", "3600001s", "100001kclips"):
        with pytest.raises(ConfigError, match=rf"budget '{more}' is more than 1000h or 100000kclips"):
            build(TrainConfig, {"budget": more})


def test_an_option_with_a_prefix_is_named_with_it(tmp_path) -> None:
    arguments = ["run", *NEEDED["ingest"], "--evaluate-seed", str(2**31), "--workspace", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2 and "bad value: --evaluate-seed: " in result.output
    result = CliRunner().invoke(app, ["demo", "--budget", "soon", "--workspace", str(tmp_path)])
    assert result.exit_code == 2 and "bad value: --budget: " in result.output


def test_settings_that_do_not_go_together_are_named_as_their_reader_knows_them() -> None:
    values = {"labels": "sidecar"}
    with pytest.raises(ConfigError, match=r"^bad value in IngestConfig: labels 'sidecar' needs the file: set sidecar$"):
        build(IngestConfig, values)
    arguments = ["ingest", *NEEDED["ingest"], "--labels", "sidecar"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert "bad value: --labels 'sidecar' needs the file: set --sidecar" in result.output
