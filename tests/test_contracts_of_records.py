"""Promises of config, records, errors and workspace: what every stage builds on."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vgan import errors
from vgan.config import Budget, IngestConfig, Spec, TrainConfig, build
from vgan.records import Rejection, digest_of
from vgan.workspace import ROOT_VARIABLE, Workspace


def specs() -> list[type[Spec]]:
    return [kind for kind in Spec.__subclasses__() if kind.__name__.endswith("Config")]


@pytest.mark.parametrize("kind", specs(), ids=lambda kind: kind.__name__)
def test_every_setting_says_what_it_means(kind: type[Spec]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description and len(field.description) > 15, f"{kind.__name__}.{name}"


def test_an_unknown_setting_and_a_bad_value_are_both_named() -> None:
    with pytest.raises(errors.ConfigError, match=r"frames.*wide"):
        build(IngestConfig, {"frames": 1, "wide": 3})


def test_settings_that_do_not_go_together_are_said_without_all_the_others() -> None:
    with pytest.raises(errors.ConfigError, match=r"^bad value in IngestConfig: labels 'sidecar' .* set sidecar$"):
        build(IngestConfig, {"labels": "sidecar"})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "seconds", "kclips"), [("90s", 90, None), ("1.5m", 90, None), ("2h", 7200, None), ("200kclips", None, 200)]
)
def test_a_budget_is_time_or_clips(text: str, seconds: float | None, kclips: float | None) -> None:
    assert Budget.parse(text) == Budget(seconds=seconds, kclips=kclips)


@pytest.mark.parametrize("text", ["", "90", "s", "-5s", "0s", "9 days", "1e3s", "nan kclips"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not like"):
        Budget.parse(text)


def test_a_digest_is_the_same_under_every_hash_seed_and_locale() -> None:
    code = "from vgan.records import digest_of; print(digest_of({'b': [1.5, 'ü'], 'a': {'y': None, 'x': True}}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, locale in (("1", "C"), ("2", "tr_TR.UTF-8"))
    }
    assert found == {digest_of({"a": {"x": True, "y": None}, "b": [1.5, "ü"]}) + "\n"}


@pytest.mark.parametrize("text", ["", "{}", '{"path": 1}', '{"schema_version": 0}', "\x80\x04K\x01."])
def test_what_is_no_record_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(errors.CorruptDataError, match="somewhere"):
        Rejection.from_json(text, "somewhere")


def test_a_record_of_a_newer_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(errors.ConfigError, match=r"somewhere .*schema 2.*Upgrade"):
        Rejection.from_json('{"schema_version": 2, "surprise": true}', "somewhere")


def test_exit_codes_are_these() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.VganError.__subclasses__()}
    assert codes == {
        "ConfigError": 2,
        "BadInputError": 65,
        "DivergedError": 70,
        "StorageError": 74,
        "ResumableError": 75,
        "CorruptDataError": 76,
        "GateFailedError": 77,
        "RegistryError": 75,
    }
    assert {k.__name__ for k in errors.VganError.__subclasses__() if k.retryable} == {
        "StorageError",
        "ResumableError",
        "RegistryError",
    }
    assert not errors.StoppedError.retryable


def test_a_workspace_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "named"))
    assert Workspace.open().root == tmp_path / "named"
    assert Workspace.open(tmp_path / "given").root == tmp_path / "given"
    monkeypatch.delenv(ROOT_VARIABLE)
    monkeypatch.chdir(tmp_path)
    assert Workspace.open().root == tmp_path / "workspace"


def test_a_workspace_under_a_file_is_an_io_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageError, match="cannot be written") as caught:
        Workspace.open(tmp_path / "file" / "workspace")
    assert "--workspace" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_without_permission_is_an_io_error(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(errors.StorageError, match="cannot be written"):
        Workspace.open(tmp_path / "workspace")


@pytest.mark.parametrize("name", ["../up", "", "A", "a b", "a/b", "-a", "x" * 64])
def test_a_name_that_could_leave_the_workspace_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.ConfigError):
        Workspace.open(tmp_path).dataset(name)


def test_a_workspace_url_is_refused_with_what_to_do() -> None:
    with pytest.raises(errors.ConfigError, match="URL"):
        Workspace.open("s3://bucket/workspace")
