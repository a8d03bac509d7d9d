import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vgan.errors import MissingToolError
from vgan.media.child import MESSAGE_BYTES
from vgan.media.ffmpeg import Child, find_ffmpeg, run
from vgan.storage import process_start


def fake_ffmpeg(path: Path, version: str, then: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n[ "$1" = -version ] && {{ echo "ffmpeg version {version} x"; exit; }}\n{then}\n')
    path.chmod(0o755)
    return path


def test_the_variable_comes_before_the_path_and_the_path_before_the_wheel(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("VGAN_FFMPEG", raising=False)
    on_path = fake_ffmpeg(tmp_path / "bin" / "ffmpeg", "6.1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert (find_ffmpeg().path, find_ffmpeg().source) == (str(on_path), "PATH")
    named = fake_ffmpeg(tmp_path / "mine", "n7.0.2-build")
    monkeypatch.setenv("VGAN_FFMPEG", str(named))
    found = find_ffmpeg()
    assert (found.path, found.source, found.release) == (str(named), "VGAN_FFMPEG", (7, 0))


def test_without_ffmpeg_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("VGAN_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    find_ffmpeg.__globals__["_find"].cache_clear()
    with pytest.raises(MissingToolError, match="pip install imageio-ffmpeg") as caught:
        find_ffmpeg()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("version", ["4.4.2", "5.0.1"])
def test_an_old_ffmpeg_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setenv("VGAN_FFMPEG", str(fake_ffmpeg(tmp_path / "old", version)))
    with pytest.raises(MissingToolError, match=version):
        find_ffmpeg()


def test_a_program_that_is_not_ffmpeg_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("VGAN_FFMPEG", "/bin/true")
    with pytest.raises(MissingToolError, match="does not answer"):
        find_ffmpeg()
    monkeypatch.setenv("VGAN_FFMPEG", str(tmp_path / "absent"))
    with pytest.raises(MissingToolError, match="does not run"):
        find_ffmpeg()


def test_a_flood_of_messages_neither_blocks_nor_fills_memory(monkeypatch, tmp_path):
    flood = "echo first >&2; head -c 20000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; echo out"
    monkeypatch.setenv("VGAN_FFMPEG", str(fake_ffmpeg(tmp_path / "loud", "9.0", flood)))
    output, finished = run([], timeout=60)
    assert output == b"out\n"
    assert len(finished.stderr) == 2 * MESSAGE_BYTES
    assert finished.stderr.startswith("first") and finished.stderr.endswith("last\n")


def test_a_child_sees_no_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("VGAN_FFMPEG", str(fake_ffmpeg(tmp_path / "env", "9.0", "env")))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    output, _ = run([], timeout=60)
    assert b"PATH=" in output and b"canary" not in output


def test_a_child_that_stops_reading_does_not_hang_the_feeder(monkeypatch, tmp_path):
    monkeypatch.setenv("VGAN_FFMPEG", str(fake_ffmpeg(tmp_path / "deaf", "9.0", "exit 3")))
    _, finished = run([], timeout=60, feed=(bytes(1 << 20) for _ in range(50)))
    assert finished.returncode == 3 and not finished.timed_out


def test_a_broken_block_kills_the_child(monkeypatch, tmp_path):
    monkeypatch.setenv("VGAN_FFMPEG", str(fake_ffmpeg(tmp_path / "slow", "9.0", "echo $$; sleep 100")))
    with pytest.raises(KeyError), Child([], timeout=60) as child:
        pid = int(child.stdout.readline())
        raise KeyError
    assert child.finished.returncode == -signal.SIGKILL
    assert process_start(pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_the_child_dies_with_its_parent(tmp_path):
    fake = fake_ffmpeg(tmp_path / "slow", "9.0", "echo $$; exec sleep 100")
    code = (
        "from vgan.media.ffmpeg import Child\n"
        "child = Child([], timeout=99)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "input()\n"
    )
    environment = {**os.environ, "VGAN_FFMPEG": str(fake)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert process_start(pid) is not None
        parent.kill()
    for _ in range(200):
        if process_start(pid) is None:
            return
        time.sleep(0.02)
    pytest.fail("the child outlived its parent")
