"""docs/buckets.md, command by command, against a real S3 endpoint."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import BIN, ROOT, clean_env
from s3_server import S3Server

from vgan.remote import RemoteFolder

PAGE = ROOT / "docs" / "buckets.md"


def commands() -> list[list[str]]:
    """The `sh` blocks of the page, each a list of lines."""
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def test_every_command_of_the_page_works(
    bucket: str, s3_endpoint: S3Server, lavfi: Callable[..., Path], tmp_path: Path
) -> None:
    """FAULTS 45: and none of them says or writes the secret key."""
    for seed in range(8):
        graph = f"life=size=64x64:rate=10:ratio=0.3:mold=10:seed={seed + 1}"
        video = lavfi(tmp_path / f"{seed}.mp4", graph, "-t", "4", "-pix_fmt", "yuv420p")
        RemoteFolder(f"{bucket}/videos").put(video, f"life {seed}.mp4")
    blocks = commands()
    assert [len(block) for block in blocks] == [4, 1, 2, 3]
    environment = clean_env(**s3_endpoint.environment)
    # The first three blocks are one machine, the last one is another.
    for number, block in enumerate(blocks):
        machine = tmp_path / ("another" if number == 3 else "ingesting")
        machine.mkdir(exist_ok=True)
        environment.pop("VGAN_DATASETS", None)
        for line in block:
            words = shlex.split(line.replace("s3://my-bucket", bucket).replace("--budget 90s", "--budget 5s"))
            if words[0] == "export":
                name, value = words[1].split("=", 1)
                # Where the endpoint of this test is, and who may use it, is given.
                environment.setdefault(name, value)
                continue
            done = subprocess.run(
                [BIN / words[0], *words[1:]], check=False, cwd=machine, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}: {done.stderr[-3000:]}"
            assert "canary" not in done.stdout + done.stderr
    assert {file.path.split("/")[1] for file in RemoteFolder(f"{bucket}/datasets").files()} >= {"manifest.json"}
    assert list((tmp_path / "another").glob("workspace/runs/*/run.json"))
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"canary" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 74, "AWS_ENDPOINT_URL"),
        ({"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""}, 2, "AWS_PROFILE"),
    ],
)
def test_exit_codes_are_those_of_the_page(
    bucket: str, s3_endpoint: S3Server, tmp_path: Path, settings: dict[str, str], code: int, said: str
) -> None:
    environment = clean_env(**(s3_endpoint.environment | settings))
    command = [BIN / "vgan", "ingest", "--videos", f"{bucket}/videos", "--name", "mine"]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr
    assert os.listdir(tmp_path) == ["workspace"]  # noqa: PTH208
