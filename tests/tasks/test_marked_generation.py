"""`vgan sample` at a local run and at a registered version: what it writes, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tasks import registration
from vgan.config import RegisterConfig
from vgan.media.verify import verify_media
from vgan.workspace import Workspace


def sample(workspace: Workspace, model: str, out: Path, *options: str, code: int = 0) -> dict:
    command = ["sample", "--model", model, "--out", str(out), "--workspace", str(workspace.root), "--json", *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_registered_version_is_named_in_its_signed_files_and_the_speed_is_told(workspace, make_run, tmp_path) -> None:
    registration.register(workspace, make_run("toys-1"), RegisterConfig())
    told = sample(workspace, "models:/toys@champion", tmp_path / "out", "--num", "2", "--seed", "7", "--grid")
    assert [Path(file).name for file in told["files"]] == ["clip-00000-left-seed7.mp4", "clip-00001-up-seed8.mp4"]
    assert told["frames"] == 8 and told["frames_per_second"] > 0
    assert told["real_time_factor"] == pytest.approx(told["frames_per_second"] / 8, abs=0.02)
    for file, seed in ((told["files"][0], "7"), (told["grid"], "7")):
        found = verify_media(Path(file))
        assert (found.tags["vgan_model"], found.tags["vgan_model_version"], found.tags["vgan_run"]) == (
            "toys",
            "1",
            "toys-1",
        )
        assert found.tags["vgan_seed"] == seed and found.manifest.synthetic
    assert verify_media(Path(told["contact_sheet"])).manifest.synthetic


def test_a_local_run_names_its_data_and_walks(workspace, make_run, tmp_path) -> None:
    walk = ("--seed", "1", "--to-seed", "2", "--num", "2", "--format", "gif", "--frames", "6", "--fps", "10")
    told = sample(workspace, make_run("toys-1"), tmp_path / "out", *walk, "--truncation", "0.7", "--label", "up")
    listing = json.loads(Path(told["listing"]).read_bytes())
    assert [row["share"] for row in listing["clips"]] == [0, 1] and listing["truncation"] == 0.7
    found = verify_media(Path(told["files"][1]))
    assert (found.kind, found.tags["vgan_model"], found.watermark.frames) == ("gif", "toys", 6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--label", "down"], "left, up"),
        (["--to-seed", "0"], "--to-seed"),
        (["--format", "webm", "--codec", "h265"], "--codec"),
        (["--truncation", "0"], "--truncation"),
        (["--num", "100000", "--grid"], "too large"),
        (["--certificate", "nobody.pem", "--key", "nobody.key"], "nobody.pem"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_cannot_be_made_ends_with_code_2_and_writes_nothing(workspace, make_run, tmp_path, options, named) -> None:
    error = sample(workspace, make_run("toys-1"), tmp_path / "out", *options, code=2)["error"]
    assert named in f"{error['message']} {error['hint']}"
    assert not (tmp_path / "out").exists()
