"""The command line is a promise: a name that vanishes breaks somebody's script."""

from __future__ import annotations

import pytest
import typer.main
from typer.testing import CliRunner

from flows.cli.app import app
from vgan import __version__

COMMON = {"--workspace", "--json"}
INGEST = {
    "--frames", "--height", "--width", "--fps", "--stride", "--labels", "--sidecar", "--group-by", "--heldout",
    "--format", "--crop", "--scene-threshold", "--min-motion", "--max-clips-per-video", "--max-seconds",
    "--exclude-synthetic", "--missing", "--max-missing", "--max-rejected", "--follow-outside", "--videos-per-batch",
    "--video-timeout", "--workers", "--runner", "--runner-address",
}  # fmt: skip
TRAIN = {
    "--preset", "--budget", "--device", "--seed", "--batch", "--threads", "--checkpoints", "--init", "--drawing",
    "--augment", "--stop-on-collapse", "--stop-when-indistinguishable", "--deterministic", "--compile", "--processes",
    "--nodes", "--rendezvous",
}  # fmt: skip
SURFACE = {
    "up": COMMON | {"--host", "--prefect-port", "--mlflow-port"},
    "down": COMMON,
    "status": COMMON,
    "prepare": COMMON,
    "doctor": COMMON,
    "models": COMMON | {"--name"},
    "compare": COMMON | {"--out", "--num", "--seed"},
    "demo": COMMON | {"--budget"},
    "ingest": COMMON | INGEST | {"--videos", "--name"},
    "inspect": COMMON | {"--name", "--out", "--version", "--seed"},
    "datasets": COMMON
    | {"--name", "--compare", "--with", "--prune", "--keep", "--trained-too", "--yes"},
    "backup": COMMON,
    "restore": COMMON,
    "prune": COMMON | {"--keep", "--idle-days", "--yes"},
    "verify": COMMON | {"--name"},
    "train": COMMON | TRAIN | {"--name", "--dry-run"},
    "evaluate": COMMON | {"--run", "--clips", "--seed", "--bootstrap", "--fvd-weights", "--fvd-sha256"},
    "register": COMMON | {"--run", "--model-name", "--alias", "--tolerance", "--force"},
    "promote": COMMON | {"--model", "--version", "--alias"},
    "sample": COMMON
    | {"--model", "--out", "--num", "--seed", "--to-seed", "--label", "--fps", "--frames", "--truncation", "--format"}
    | {"--codec", "--grid", "--device", "--certificate", "--key"},
    "verify-media": {"--trust", "--json"},
    "run": COMMON | INGEST | TRAIN | {"--videos", "--name", "--model-name", "--alias", "--tolerance"}
    | {"--evaluate-clips", "--evaluate-seed", "--evaluate-bootstrap"}
    | {"--evaluate-fvd-weights", "--evaluate-fvd-sha256"},
}  # fmt: skip


ARGUMENTS = {"compare": ["first", "second"], "verify-media": ["file"], "backup": ["out"], "restore": ["source"]}


def parameters(command: str, kind: str) -> dict[str, str]:
    """Option or argument -> help text, of one command."""
    group = typer.main.get_command(app)
    found = group.commands[command]  # type: ignore[attr-defined]
    return {name: param.help for param in found.params if param.param_type_name == kind for name in param.opts}


def options(command: str) -> dict[str, str]:
    """Option -> help text, of one command."""
    return parameters(command, "option")


def test_the_commands_are_these() -> None:
    assert set(typer.main.get_command(app).commands) == set(SURFACE)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", SURFACE)
def test_the_options_of_a_command_are_these(command: str) -> None:
    assert set(options(command)) == SURFACE[command]


@pytest.mark.parametrize("command", SURFACE)
def test_what_a_command_takes_without_an_option_is_this(command: str) -> None:
    assert list(parameters(command, "argument")) == ARGUMENTS.get(command, [])


@pytest.mark.parametrize("command", SURFACE)
def test_every_option_says_in_plain_words_what_it_does(command: str) -> None:
    for name, text in (options(command) | parameters(command, "argument")).items():
        assert text and len(text) > 15, name


@pytest.mark.parametrize("command", SURFACE)
def test_help_is_shown_without_loading_torch(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", SURFACE)
def test_help_cuts_no_option_name_at_80_columns(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).output
    assert "\N{HORIZONTAL ELLIPSIS}" not in said and "..." not in said
    assert all(len(line) <= 80 for line in said.splitlines())
    assert {line.split()[0] for line in said.splitlines() if line.startswith("  --")} == SURFACE[command] | {"--help"}


def test_help_of_all_commands_cuts_nothing_at_80_columns() -> None:
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert "\N{HORIZONTAL ELLIPSIS}" not in said and "..." not in said.replace("[ARGS]...", "")
    assert set(SURFACE) <= set(said.split())


def test_options_before_the_command_are_as_listed() -> None:
    found = typer.main.get_command(app).params
    assert {name for param in found for name in param.opts} == {"--version", "--json-logs"}
    assert all(param.help for param in found)  # type: ignore[attr-defined]


def test_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"vgan {__version__}"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ingest", "--videos", "v", "--name", "a", "--frames", "1"], "frames"),
        (["ingest", "--videos", "v", "--name", "a", "--height", "33"], "height"),
        (["ingest", "--videos", "v", "--name", "a", "--labels", "sidecar"], "--labels"),
        (["ingest", "--videos", "v", "--name", "a", "--fps", "0"], "fps"),
        (["ingest", "--videos", "v", "--name", "a", "--group-by", "("], "--group-by"),
        (["ingest", "--videos", "v", "--name", "../a"], "../a"),
        (["train", "--name", "a", "--budget", "soon"], "--budget"),
        (["train", "--name", "a", "--preset", "huge"], "preset"),
        (["train", "--name", "a"], "a"),
        (["evaluate", "--run", "nobody"], "nobody"),
        (["register", "--run", "nobody"], "nobody"),
        (["promote", "--model", "nobody", "--version", "1"], "nobody"),
        (["promote", "--model", "No Body", "--version", "1"], "--model"),
        (["models", "--name", "nobody"], "nobody"),
        (["compare", "nobody", "models:/nobody@champion", "--out", "o"], "nobody"),
        (["compare", "a", "b", "--out", "o", "--num", "0"], "--num"),
        (["sample", "--model", "nobody", "--out", "o"], "nobody"),
        (["sample", "--model", "models:/nobody@champion", "--out", "o"], "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_bad_value_ends_with_code_2_and_names_itself(arguments: list[str], named: str, tmp_path) -> None:
    (tmp_path / "v").mkdir()
    arguments = [str(tmp_path / a) if a in ("v", "o") else a for a in arguments]
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(tmp_path / "w")])
    assert result.exit_code == 2, result.output
    assert named in result.output


def test_commands_take_their_options_from_the_configuration() -> None:
    """One definition serves every door: the description in the form is the help on the command line."""
    from vgan.config import IngestConfig

    shown = options("ingest")
    for name, field in IngestConfig.model_fields.items():
        assert shown[f"--{name.replace('_', '-')}"] == field.description
