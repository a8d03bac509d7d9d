"""Promises of the registry, on a real MLflow store: one version a model, one alias, nothing half-registered."""

from __future__ import annotations

import inspect
import json
import py_compile
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks import registration, tracking
from tasks.listing import Figure, list_models
from tasks.register import verdict_markdown
from vgan.config import RegisterConfig
from vgan.errors import ConfigError, CorruptDataError, GateFailedError, RegistryError
from vgan.evaluation.card import model_card
from vgan.evaluation.gate import decide
from vgan.records import Dataset, Evaluation, TrainedRun, Verdict
from vgan.workspace import Workspace

CONFIG = RegisterConfig()


def champion(workspace: Workspace) -> str | None:
    found = tracking.champion_version(tracking.client(workspace), "toys", "champion")
    return str(found.version) if found else None


def verdict_of(workspace: Workspace, run: str) -> Verdict:
    return Verdict.from_json(workspace.run(run).verdict.read_bytes(), run)


def dataset_experiment(workspace: Workspace) -> str:
    return tracking.client(workspace).get_experiment_by_name("toys").experiment_id  # type: ignore[union-attr]


def versions(workspace: Workspace) -> int:
    return len(tracking.client(workspace).search_model_versions("name='toys'"))


def test_the_first_version_becomes_champion_and_a_repeated_call_changes_nothing(workspace, make_run) -> None:
    run = make_run("toys-1")
    first = registration.register(workspace, run, CONFIG)
    assert (first.version, first.champion, first.unchanged) == ("1", True, False)
    second = registration.register(workspace, run, CONFIG)
    assert second.model_copy(update={"unchanged": False}) == first
    assert second.unchanged
    assert versions(workspace) == 1


def test_the_alias_moves_to_a_better_version_only(workspace, make_run) -> None:
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), CONFIG)
    worse = registration.register(workspace, make_run("toys-2", figure=1.5, seed=2), CONFIG)
    assert (worse.version, worse.champion, champion(workspace)) == ("2", False, "1")
    assert "does not beat" in worse.verdict
    equal = registration.register(workspace, make_run("toys-3", figure=1.0, seed=3), CONFIG)
    assert not equal.champion
    better = registration.register(workspace, make_run("toys-4", figure=0.5, seed=4), CONFIG)
    assert (better.champion, champion(workspace), better.outcome) == (True, "4", "promoted")
    tags = tracking.resolve(workspace, better.model_uri).tags
    assert json.loads(tags["vgan.moved.champion"])["before"] == "1"
    assert json.loads(tags["vgan.gate"])["frechet"]["gain_low"] == pytest.approx(0.5)
    assert verdict_of(workspace, "toys-4").rival == "toys-1"
    forced = registration.register(workspace, "toys-2", RegisterConfig(force=True))
    assert (forced.version, forced.champion, forced.outcome) == ("2", True, "forced")
    tags = tracking.resolve(workspace, forced.model_uri).tags
    assert (tags["vgan.forced"], json.loads(tags["vgan.moved.champion"])["by"]) == ("frechet", "forced registration")
    assert "by force" in forced.verdict
    assert registration.register(workspace, "toys-2", RegisterConfig(force=True)).unchanged


@pytest.mark.parametrize("fault", [{"finite": False}, {"diversity": 0.0}])
def test_a_model_that_collapsed_is_not_registered(workspace, make_run, fault) -> None:
    """FAULTS 14: it ends with 77, no version is made, and the verdict says why, in the run's folder and in MLflow."""
    with pytest.raises(GateFailedError) as caught:
        registration.register(workspace, make_run("toys-1", **fault), CONFIG)
    assert caught.value.exit_code == 77
    assert versions(workspace) == 0
    verdict = verdict_of(workspace, "toys-1")
    assert verdict.outcome == "refused"
    (run,) = tracking.client(workspace).search_runs([dataset_experiment(workspace)])
    assert run.data.tags["vgan.outcome"] == "refused"
    (failed,) = [check for check in verdict.checks if not check.passed]
    assert failed.said in caught.value.message and failed.said in run.data.tags["vgan.verdict"]
    assert json.loads(run.data.tags["vgan.gate"])[failed.name]["passed"] is False


@pytest.mark.parametrize("cut", ["create_version", "set_registered_model_alias", "set_model_version_tag"])
def test_a_registration_that_was_cut_is_finished_by_the_next_call(workspace, make_run, monkeypatch, cut) -> None:
    run = make_run("toys-1")
    owner = tracking if cut == "create_version" else MlflowClient
    with monkeypatch.context() as broken:
        broken.setattr(owner, cut, _connection_lost)
        with pytest.raises(RegistryError) as caught:
            registration.register(workspace, run, CONFIG)
    assert caught.value.retryable
    done = registration.register(workspace, run, CONFIG)
    assert (done.version, done.champion, versions(workspace)) == ("1", True, 1)
    models = list((workspace.root / "mlartifacts").rglob("weights.safetensors"))
    assert len(models) == 1, "the package was uploaded twice"


def _connection_lost(*_: object, **__: object) -> None:
    raise ConnectionError("the server went away")


@pytest.mark.e2e
@pytest.mark.parametrize("cut", ["finalize_logged_model", "set_tag"])
def test_of_an_upload_that_was_cut_nothing_stays_and_one_that_was_finished_is_used(
    workspace, make_run, monkeypatch, cut
) -> None:
    """FAULTS 40: however often an upload is tried, MLflow shows one model, which is that of the version."""
    run, call = make_run("toys-1"), getattr(MlflowClient, cut)

    def lost(*given: object, **named: object) -> object:
        if cut == "set_tag" and given[2] != tracking.UPLOADED_TAG:
            return call(*given, **named)
        return _connection_lost()

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, cut, lost)
        with pytest.raises(RegistryError):
            registration.register(workspace, run, CONFIG)
    done = registration.register(workspace, run, CONFIG)
    shown = tracking.client(workspace).search_logged_models([dataset_experiment(workspace)])
    (version,) = tracking.client(workspace).search_model_versions("name='toys'")
    assert len(shown) == 1 and shown[0].model_id in version.source
    assert done.champion
    uploads = list((workspace.root / "mlartifacts").rglob("weights.safetensors"))
    assert len(uploads) == (1 if cut == "set_tag" else 2), "what was finished is not uploaded again"


def test_a_run_that_is_not_there_or_not_evaluated_is_named(workspace: Workspace, make_run) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        registration.register(workspace, "nobody", CONFIG)
    workspace.run(make_run("toys-1")).evaluation.unlink()
    with pytest.raises(ConfigError, match=r"evaluation\.json") as caught:
        registration.register(workspace, "toys-1", CONFIG)
    assert "vgan evaluate" in caught.value.hint
    assert "toys-1" in caught.value.hint


def test_a_run_whose_networks_have_changed_since_is_not_registered(workspace: Workspace, make_run) -> None:
    """Its package would bring today's code, which refuses its weights."""
    folder = workspace.run(make_run("toys-1"))
    trained = TrainedRun.from_json(folder.record.read_bytes(), "run")
    older = trained.generator.model_copy(update={"family_version": 0})
    folder.record.write_bytes(trained.model_copy(update={"generator": older}).to_json())
    with pytest.raises(ConfigError, match=r"version 0 of the r3 networks.*no code of theirs"):
        registration.register(workspace, "toys-1", CONFIG)
    assert versions(workspace) == 0 and not folder.verdict.exists()


def test_the_version_links_to_a_run_with_its_parameters_lineage_and_curves(workspace, make_run, dataset) -> None:
    version = registration.register(workspace, make_run("toys-1"), CONFIG)
    api = tracking.client(workspace)
    run = api.get_run(version.mlflow_run_id)
    assert run.data.params["seed"] == "0"
    assert run.data.params["data.frames"] == "4"
    assert run.data.tags["vgan.dataset_digest"] == dataset.digest()
    assert run.data.tags["vgan.git_commit"] == "0" * 40
    assert run.inputs.dataset_inputs[0].dataset.digest == dataset.digest()[:32]
    assert [m.step for m in api.get_metric_history(version.mlflow_run_id, "loss_d")] == [1, 2, 3]
    assert run.data.metrics["eval/frechet"] == 1.0
    assert (run.data.metrics["eval/frechet_floor"], run.data.metrics["eval/frechet_score"]) == (0.1, 0.1)


def test_metrics_that_mlflow_missed_are_replayed_once(workspace: Workspace, make_run, dataset: Dataset) -> None:
    run = make_run("toys-1")
    path = workspace.run(run).metrics
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1] + b'{"step": 2, "cl')  # the trainer is in mid line
    run_id = tracking.sync_run(workspace, run, dataset, {"seed": 0})
    assert tracking.client(workspace).get_run(run_id).info.status == "RUNNING"
    path.write_bytes(whole)
    for _ in range(2):
        assert tracking.sync_run(workspace, run, dataset, {"seed": 0}) == run_id
    history = tracking.client(workspace).get_metric_history(run_id, "loss_d")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_tracking_server_that_is_away_stops_nothing_but_registration(
    workspace, make_run, dataset, monkeypatch
) -> None:
    run = make_run("toys-1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:canary@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert tracking.best_effort("x", lambda: tracking.sync_run(workspace, run, dataset, {})) is None
    with pytest.raises(RegistryError) as caught:
        registration.register(workspace, run, CONFIG)
    assert "canary" not in str(caught.value)


def test_a_downloaded_model_that_was_altered_is_refused(workspace: Workspace, make_run) -> None:
    registration.register(workspace, make_run("toys-1"), CONFIG)
    version = tracking.resolve(workspace, "models:/toys@champion")
    with tracking.downloaded(workspace, version) as (package, record):
        assert record.run == "toys-1"
        assert (package / "MODEL_CARD.md").read_text().startswith("#")
    (code,) = (workspace.root / "mlartifacts").rglob("code/vgan/sampling.py")
    code.write_text(code.read_text() + "\n")
    with pytest.raises(CorruptDataError, match="altered"), tracking.downloaded(workspace, version):
        pass


def test_python_leaves_nothing_of_its_own_in_an_upload_and_what_it_leaves_later_is_let_be(
    workspace: Workspace, make_run, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    registration.register(workspace, make_run("toys-1", figure=1.0), RegisterConfig())
    stored = workspace.root / "mlartifacts"
    assert not list(stored.rglob("*.pyc"))
    (entry,) = stored.rglob("entry.py")
    py_compile.compile(str(entry))  # as when MLflow loads it from there
    assert list(stored.rglob("*.pyc"))
    version = tracking.resolve(workspace, "models:/toys/1")
    with tracking.downloaded(workspace, version) as (package, _):
        assert package.is_dir()
    (entry.parent / "__pycache__" / "other.cpython-311.pyc").write_bytes(b"")
    with pytest.raises(CorruptDataError, match="no part of this model"), tracking.downloaded(workspace, version):
        pass


def test_a_champion_whose_run_folder_is_gone_is_evaluated_from_the_registry(
    workspace, make_run, dataset, monkeypatch
) -> None:
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), CONFIG)
    known = workspace.run("toys-1").evaluation.read_bytes()
    workspace.run("toys-1").evaluation.unlink()
    asked: list[Path] = []

    def evaluate(folder: Path, *_: object, version: str) -> object:
        asked.append(folder)
        assert version == dataset.digest(), "not the version that the challenger was judged on"
        return Evaluation.from_json(known, "known")

    monkeypatch.setattr("vgan.evaluation.evaluate.evaluate_generator", evaluate)
    make_run("toys-2", figure=1.5, seed=2)
    for _ in range(2):
        assert not registration.register(workspace, "toys-2", CONFIG).champion
    assert len(asked) == 1
    assert json.loads(workspace.run("toys-2").champion_evaluation.read_text())["run"] == "toys-1"


def test_an_unknown_model_is_answered_with_the_known_ones(workspace: Workspace, make_run) -> None:
    registration.register(workspace, make_run("toys-1"), CONFIG)
    for uri in ("models:/games@champion", "models:/toys@best", "models:/toys/9"):
        with pytest.raises(ConfigError) as caught:
            tracking.resolve(workspace, uri)
        assert "toys" in caught.value.hint


@pytest.mark.e2e
def test_the_card_names_the_version_wherever_it_is_and_a_description_stays_short_enough(
    workspace, make_run, monkeypatch
) -> None:
    run = make_run("toys-1")
    for name in ("create_model_version", "update_model_version"):
        call = inspect.signature(once := getattr(MlflowClient, name))

        def checked(*given, once=once, call=call, **named):
            assert len(call.bind(*given, **named).arguments["description"]) <= 5000, "PostgreSQL takes no more"
            return once(*given, **named)

        monkeypatch.setattr(MlflowClient, name, checked)
    monkeypatch.setattr(registration, "model_card", lambda *given: model_card(*given) + "\n## Long\n" + "x" * 5000)
    done = registration.register(workspace, run, RegisterConfig(model_name="birds", alias="best"))
    assert done.model_uri == "models:/birds/1"
    version = tracking.resolve(workspace, "models:/birds@best")
    logged = tracking.client(workspace).download_artifacts(done.mlflow_run_id, "MODEL_CARD.md", str(workspace.root))
    described = str(version.description)
    for card in (workspace.run(run).card.read_text(), Path(logged).read_text(), described):
        assert "vgan sample --model models:/birds/1 " in card and "promoted to champion" in card
        assert "models:/toys" not in card and "VERSION" not in card
    assert "x" * 5000 in Path(logged).read_text() and "The whole card is MODEL_CARD.md" in described
    with tracking.downloaded(workspace, version) as (package, _):
        assert "models:/birds/VERSION" in (package / "MODEL_CARD.md").read_text()


@pytest.mark.e2e
def test_one_run_trained_to_other_weights_is_uploaded_and_registered_anew(workspace, make_run, monkeypatch) -> None:
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), CONFIG)
    known = Evaluation.from_json(workspace.run("toys-1").evaluation.read_bytes(), "known")
    monkeypatch.setattr("vgan.evaluation.evaluate.evaluate_generator", lambda *_, **__: known)
    other = registration.register(workspace, make_run("toys-1", figure=0.5, seed=2), CONFIG)
    assert (other.version, other.champion) == ("2", True)
    version = tracking.resolve(workspace, other.model_uri)
    with tracking.downloaded(workspace, version) as (_, record):
        assert record.weights_sha256 == other.weights_sha256
    shown = {line.version: line.figures["frechet"] for line in list_models(workspace, "toys")}
    assert shown == {"1": Figure(1.0, 0.1, 0.1), "2": Figure(0.5, 0.1, 0.1)}, "each keeps its own figures"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:canary@host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_a_password_is_left_out_of_what_is_shown_and_nothing_else(workspace, monkeypatch, uri, shown) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking.shown_uri(workspace) == shown


@pytest.mark.e2e
def test_an_alias_that_moved_meanwhile_is_judged_against_anew(workspace, make_run, monkeypatch) -> None:
    """FAULTS 41: another machine, that no lease keeps away, promoted a better model in the same moment."""
    registration.register(workspace, make_run("toys-1", figure=1.0, seed=1), CONFIG)
    registration.register(workspace, make_run("toys-2", figure=0.8, seed=2), RegisterConfig(alias="other"))
    move, seen = tracking.move_alias, []

    def move_after_another(api, version, alias, before, by) -> bool:
        if not seen:
            api.set_registered_model_alias("toys", alias, "2")
        seen.append(before.version)
        return move(api, version, alias, before, by)

    monkeypatch.setattr(tracking, "move_alias", move_after_another)
    late = registration.register(workspace, make_run("toys-3", figure=0.9, seed=3), CONFIG)
    assert (seen, champion(workspace)) == ([1], "2")
    assert (late.champion, late.outcome, versions(workspace)) == (False, "registered", 3)
    assert verdict_of(workspace, "toys-3").rival == "toys-2"


def test_a_request_whose_answer_is_lost_makes_one_run_and_one_version(workspace, make_run, monkeypatch) -> None:
    """FAULTS 39: a client that asks again, or another machine that registers the same weights, leaves one of each."""
    for name in ("create_run", "create_model_version"):
        once = getattr(MlflowClient, name)

        def twice(*given, once=once, **named):
            once(*given, **named)
            return once(*given, **named)

        monkeypatch.setattr(MlflowClient, name, twice)
    done = registration.register(workspace, make_run("toys-1"), CONFIG)
    assert (done.version, done.champion, versions(workspace)) == ("1", True, 1)
    assert len(tracking.client(workspace).search_runs([dataset_experiment(workspace)])) == 1


def test_a_champion_that_has_no_figures_here_keeps_the_alias(workspace, make_run) -> None:
    api = tracking.client(workspace)
    api.create_registered_model("toys")
    api.create_model_version("toys", "file:///somewhere")
    api.set_registered_model_alias("toys", "champion", "1")
    done = registration.register(workspace, make_run("toys-1"), CONFIG)
    assert (done.version, done.champion, champion(workspace)) == ("2", False, "1")
    assert "not registered by vgan" in done.verdict


def test_the_artifact_of_the_verdict_holds_every_check_and_no_markup_of_others(workspace, make_run) -> None:
    run = make_run("toys-1")
    verdict = decide(registration.Candidate.load(workspace, run).evaluation, None)
    hostile = verdict.checks[-1].model_copy(update={"said": "a | b <script> *"})
    changed = verdict.model_copy(update={"checks": (*verdict.checks[:-1], hostile), "outcome": "refused"})
    workspace.run(run).verdict.write_bytes(changed.to_json())
    shown = verdict_markdown(workspace, run, None)
    assert "Refused" in shown
    assert r"a \| b \<script\> \*" in shown
    assert all(f"| {check.name} |" in shown for check in verdict.checks)
