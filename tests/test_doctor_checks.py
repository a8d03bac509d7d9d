"""`vgan doctor` warns of what goes wrong later, and says what to do about it."""

import json
import stat
import sys
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from flows.doctor import machine, secrets, servers


@contextmanager
def stub(answers, *, ahead=0.0):
    """A server that answers these paths, and whose clock is so many seconds ahead."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.get(self.path.partition("?")[0], (404, ""))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + ahead, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def mlflow_answers(**changed):
    return {"/health": (200, "OK"), "/version": (200, version("mlflow")),
            "/api/2.0/mlflow/experiments/search": (200, {"experiments": []}), **changed}  # fmt: skip


def found(findings, check):
    return next((each for each in findings if each.check == check), None)


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
                 "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_API_URL", "VGAN_C2PA_KEY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("ahead", "said"), [(300, "ahead of"), (-300, "behind")])
def test_a_servers_clock_that_differs_is_named(ahead, said, monkeypatch):
    """FAULTS 43: leases and schedules compare the times of several machines."""
    with stub(mlflow_answers(), ahead=ahead) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        finding = found(servers.check_mlflow(), "mlflow clock")
    assert finding.state == "warning" and said in finding.detail and "NTP" in finding.remedy
    assert abs(int(finding.detail.partition(" is ")[2].split()[0])) in range(290, 311)


def test_equal_clocks_and_versions_are_no_warning(monkeypatch):
    with stub(mlflow_answers()) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert [each.state for each in servers.check_mlflow()] == ["ok"]


def test_a_server_of_another_version_is_named(monkeypatch):
    with stub(mlflow_answers(**{"/version": (200, "3.1.0")})) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        finding = found(servers.check_mlflow(), "mlflow")
    assert finding.state == "warning" and "3.1.0" in finding.detail and "mlflow==3.1.0" in finding.remedy


def test_prefects_server_of_another_version_and_one_that_refuses(monkeypatch):
    from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

    answers = {"/api/health": (200, True), "/api/admin/version": (200, '"3.6.1"')}
    with stub(answers) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        finding = found(servers.check_prefect(), "prefect")
        assert finding.state == "warning" and "3.6.1" in finding.detail
        answers["/api/admin/version"] = (401, {"exception_message": "Unauthorized"})
        finding = found(servers.check_prefect(), "prefect")
        assert finding.state == "missing" and "PREFECT_API_AUTH_STRING" in finding.remedy
        with temporary_settings({PREFECT_API_KEY: "key"}):
            assert "unset PREFECT_API_KEY" in found(servers.check_prefect(), "prefect").remedy


def test_a_refused_host_is_told_from_a_missing_password(monkeypatch):
    search = "/api/2.0/mlflow/experiments/search"
    for status, body, remedy in (
        (401, "You are not authenticated", "MLFLOW_TRACKING_PASSWORD"),
        (403, "Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts"),
    ):
        with stub(mlflow_answers(**{search: (status, body)})) as url:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
            finding = found(servers.check_mlflow(), "mlflow")
        assert finding.state == "missing" and remedy in finding.remedy


def test_a_password_in_an_address_is_warned_of_and_never_shown(monkeypatch):
    with stub(mlflow_answers()) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url.replace("//", "//user:canary@"))
        findings = [*servers.check_mlflow(), *secrets.check_secrets(None)]
    assert "canary" not in str(findings)
    assert found(findings, "mlflow").state == "ok"
    assert "MLFLOW_TRACKING_PASSWORD" in found(findings, "secrets").remedy


def test_private_keys_that_others_may_read_are_named(workspace, tmp_path, monkeypatch):
    from vgan.media.certificates import development_certificate, development_file

    development_certificate()
    signing = tmp_path / "signing.key"
    in_workspace = workspace.root / "keys" / "c2pa.pem"
    in_workspace.parent.mkdir()
    for path in (signing, in_workspace):
        path.write_bytes(development_file().read_bytes())
        path.chmod(0o600)
    monkeypatch.setenv("VGAN_C2PA_KEY", str(signing))
    assert [each.state for each in secrets.check_secrets(workspace.root)] == ["ok"]
    for path in (signing, in_workspace, development_file()):
        path.chmod(0o644)
    findings = list(secrets.check_secrets(workspace.root))
    assert {each.remedy for each in findings} == {
        f"chmod 600 {path}" for path in (signing, in_workspace, development_file())
    }  # fmt: skip
    development_file().chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_an_ffmpeg_below_the_mended_release_is_warned_of(tmp_path, monkeypatch):
    """FAULTS 30: with the codec guard and what nobody can know of a distribution's own number."""
    program = tmp_path / "ffmpeg"
    monkeypatch.setenv("VGAN_FFMPEG", str(program))
    for number, state in (("5.1.9-0+deb12u1", "warning"), ("8.1.1", "warning"), ("8.1.2", "ok"), ("n9.0.2-17", "ok"),
                          ("N-118000-g123", "ok")):  # fmt: skip
        monkeypatch.setenv("PATH", f"{tmp_path}/{number}:/usr/bin:/bin")  # what was found is remembered by the PATH
        program.write_text(f"#!{sys.executable}\nprint('ffmpeg version {number} Copyright')\n")
        program.chmod(0o755)
        finding = machine.check_ffmpeg()
        assert finding.state == state, number
        if state == "warning":
            assert "CVE-2026-8461" in finding.detail and "security tracker" in finding.remedy


def test_low_disk_is_warned_of(workspace, monkeypatch):
    assert machine.check_workspace(workspace.root).state == "ok"
    monkeypatch.setattr(machine, "LOW_DISK_BYTES", 1 << 60)
    assert machine.check_workspace(workspace.root).remedy.endswith("`vgan prune --keep 3` shows what may go.")


@pytest.mark.parametrize(
    ("name", "installed", "remedy"),
    [
        ("fastapi", "0.165.0", "fastapi<0.151,>=0.139"),
        ("mlflow", "3.9.0", "mlflow>=3.15"),
        ("torch", "2.9.0", "torch>=2.11"),
    ],
)
def test_packages_outside_their_bounds_are_named(name, installed, remedy, tmp_path, monkeypatch):
    assert [each.state for each in machine.check_versions()] == ["ok"]
    about = tmp_path / f"{name}-{installed}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {installed}\n")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = machine.check_versions()
    assert finding.state == "warning" and installed in finding.detail and remedy in finding.remedy
