"""Register a run: gate, upload, version, alias. Plain functions; `register.py` makes a task of them."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tasks import tracking
from tasks.tracking import MlflowVersion
from vgan.config import RegisterConfig
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, CorruptDataError, GateFailedError, ResumableError, VganError
from vgan.evaluation.card import model_card
from vgan.evaluation.gate import decide
from vgan.evaluation.pages import write_verdict
from vgan.evaluation.rivals import differences
from vgan.records import Check, Dataset, Evaluation, ModelVersion, Outcome, TrainedRun, Verdict
from vgan.storage import lease, read_bytes, write_atomic
from vgan.workspace import Workspace

log = logging.getLogger(__name__)

TURN_SECONDS = 900.0  # to wait for another registration of the model, which may have to evaluate the champion
MOST_JUDGEMENTS = 3


@dataclass(frozen=True)
class Candidate:
    """A run with all that the gate and the registry need to know of it."""

    workspace: Workspace
    trained: TrainedRun
    evaluation: Evaluation
    dataset: Dataset

    @classmethod
    def load(cls, workspace: Workspace, run: str) -> Candidate:
        """Read the records of a run; raises ConfigError when it was not trained or not evaluated."""
        folder = workspace.run(run)
        for path, stage in ((folder.record, "train"), (folder.evaluation, "evaluate")):
            if not path.exists():
                known = ", ".join(workspace.run_keys()) or "none"
                raise ConfigError(
                    f"run {run!r} has no {path.name} in {workspace.root}.",
                    hint=f"Run `vgan {stage}` first. Trained runs here: {known}.",
                )
        trained = TrainedRun.from_json(read_bytes(folder.record), str(folder.record))
        evaluation = Evaluation.from_json(read_bytes(folder.evaluation), str(folder.evaluation))
        return cls(workspace, trained, evaluation, load_dataset(workspace, trained.dataset, trained.dataset_digest))

    def card(self, model: str, verdict: Verdict | None = None) -> str:
        """The model card, Markdown; `model` as of `model_card`."""
        return model_card(self.trained, self.dataset, self.evaluation, verdict, model)

    def write_verdict(self, verdict: Verdict, model: str | None = None) -> None:
        """Put the verdict into the report and the card of the run's folder."""
        write_verdict(self.workspace.run(self.trained.run), self.trained, self.dataset, self.evaluation, verdict, model)


def register(workspace: Workspace, run: str, config: RegisterConfig) -> ModelVersion:
    """Register the run's generator and move the alias to it when it beats the present holder.

    Idempotent by the weights' hash: a repeated call finds the version, and one that was cut
    between upload and alias goes on where it stopped. A version that was judged stays judged,
    so that one from which the alias was taken back by hand does not take it again.

    Raises:
        ConfigError: the run was not trained or not evaluated, its networks have changed since, or the alias is
            MLflow's own.
        GateFailedError: the run fails the gate on its own; nothing is registered.
        RegistryError: the server did not answer; the same command goes on.
        ResumableError: another process has been registering this model for a quarter of an hour.
    """
    tracking.refuse_reserved(config.alias)
    candidate = Candidate.load(workspace, run)
    name = config.model_name or candidate.trained.dataset
    doing = tracking.registry_errors(f"registering {name}", workspace)
    with lease(workspace.model_lease(name), wait=TURN_SECONDS), doing:
        api = tracking.client(workspace)
        version = tracking.find_version(api, name, candidate.trained.generator.weights_sha256)
        if version is None:
            _refuse_other_networks(candidate.trained)
        champion = tracking.champion_version(api, name, config.alias)
        if version and _is_settled(version, champion, candidate.evaluation, config):
            _repeat(candidate, version)
            return _record(candidate, version, champion, config.alias, unchanged=True)
        version, champion, verdict = _judge_and_move(candidate, name, config, version)
        # Last, so that a registration cut before here is judged again by the next call.
        judged = {f"{tracking.JUDGED_TAG}.{config.alias}": _judged(candidate.evaluation, config)}
        said = {**tracking.verdict_tags(verdict), tracking.FIGURES_TAG: tracking.figures_tag(candidate.evaluation)}
        version = tracking.tag_version(api, version, {**said, **judged})
        return _record(candidate, version, champion, config.alias, unchanged=False)


def _refuse_other_networks(trained: TrainedRun) -> None:
    from vgan.registry.own_code import refuse_other_networks  # torch

    refuse_other_networks(trained.generator)


def _judged(evaluation: Evaluation, config: RegisterConfig) -> str:
    return f"{evaluation.digest()} {config.tolerance:g}"


def _is_settled(
    version: MlflowVersion, champion: MlflowVersion | None, evaluation: Evaluation, config: RegisterConfig
) -> bool:
    judged = version.tags.get(f"{tracking.JUDGED_TAG}.{config.alias}") == _judged(evaluation, config)
    return judged and (not config.force or _same(version, champion))


def _same(version: MlflowVersion | None, other: MlflowVersion | None) -> bool:
    return version is not None and other is not None and str(version.version) == str(other.version)


def _judge_and_move(
    candidate: Candidate, name: str, config: RegisterConfig, version: MlflowVersion | None
) -> tuple[MlflowVersion, MlflowVersion | None, Verdict]:
    """(the version, who holds the alias now, the verdict); judges anew when the alias moves meanwhile."""
    api = tracking.client(candidate.workspace)
    for _ in range(MOST_JUDGEMENTS):
        champion = tracking.champion_version(api, name, config.alias)
        verdict = decide(
            candidate.evaluation, _rival(candidate, version, champion, config),
            tolerance=config.tolerance, force=config.force,
        )  # fmt: skip
        _write_down(candidate, verdict)
        if not verdict.register:
            raise _refusal(candidate, verdict)
        version = _upload(candidate, name, version, verdict)
        _write_card(candidate, version, verdict)
        if not verdict.promote or _same(version, champion):
            return version, champion, verdict
        by = "forced registration" if verdict.outcome == "forced" else "gate"
        if tracking.move_alias(api, version, config.alias, champion, by):
            return version, version, verdict
        log.warning("@%s of %s was moved meanwhile; judging again", config.alias, name)
    raise ResumableError(
        f"@{config.alias} of {name} was moved by others {MOST_JUDGEMENTS} times while this run was judged.",
        hint="The version is registered; the same command judges it again.",
    )


def _write_down(candidate: Candidate, verdict: Verdict) -> None:
    """Into the log, the run's folder, its report and its card."""
    for check in verdict.checks:
        log.log(logging.INFO if check.passed else logging.WARNING, "gate: %s", check.said)
    log.info("gate: %s", verdict.outcome)
    write_atomic(candidate.workspace.run(candidate.trained.run).verdict, verdict.to_json())
    candidate.write_verdict(verdict)


def _write_card(candidate: Candidate, version: MlflowVersion, verdict: Verdict) -> None:
    """Name the version in the card: in the run's folder, in its MLflow run, and as the version's description."""
    candidate.write_verdict(verdict, _named(version))
    tracking.describe_version(candidate.workspace, version, candidate.card(_named(version), verdict))


def _named(version: MlflowVersion) -> str:
    return f"{version.name}/{version.version}"


def _repeat(candidate: Candidate, version: MlflowVersion) -> None:
    """Put the verdict into the pages again, should they have been written anew."""
    folder = candidate.workspace.run(candidate.trained.run)
    if folder.verdict.exists():
        verdict = Verdict.from_json(read_bytes(folder.verdict), str(folder.verdict))
        candidate.write_verdict(verdict, _named(version))


def _refusal(candidate: Candidate, verdict: Verdict) -> GateFailedError:
    """Leaves the verdict in MLflow, where people look for it, if it answers."""
    run, folder = candidate.trained.run, candidate.workspace.run(candidate.trained.run)
    tracking.best_effort("logging the refused run", lambda: _log_run(candidate, verdict))
    failed = " ".join(check.said for check in verdict.checks if not check.passed)
    return GateFailedError(
        f"run {run} fails the gate and is not registered: {failed}",
        hint=f"Look at {folder.report}; train longer or on more varied clips.",
    )


class _IncomparableError(Exception):
    """Why the champion has no figures to compare with."""


def _rival(
    candidate: Candidate, version: MlflowVersion | None, champion: MlflowVersion | None, config: RegisterConfig
) -> Evaluation | Check | None:
    if champion is None:
        return None
    if _same(version, champion):
        return Check(name="holder", passed=True, said=f"It carries @{config.alias} already.")
    try:
        return champion_evaluation(candidate, champion)
    except (_IncomparableError, VganError) as error:
        if not config.force and not isinstance(error, _IncomparableError):
            raise  # which another try may help
        said = f"The champion, version {champion.version}, cannot be compared: {error}"
        return Check(name="comparable", passed=False, said=said)


def champion_evaluation(candidate: Candidate, champion: MlflowVersion) -> Evaluation:
    """The champion's figures under the candidate's dataset version, protocol and settings.

    Taken from its run folder when they are there, else made from the registered weights.
    """
    workspace, judged = candidate.workspace, candidate.evaluation
    weights, run = champion.tags.get(tracking.WEIGHTS_TAG), champion.tags.get(tracking.RUN_TAG)
    if not weights or not run:
        raise _IncomparableError("it was not registered by vgan.")
    cache = workspace.run(candidate.trained.run).champion_evaluation
    for path in (workspace.run(run).evaluation, cache):
        known = _read_evaluation(path)
        if known and known.weights_sha256 == weights and not differences(known, judged):
            return known
    from vgan.evaluation.evaluate import evaluate_generator  # torch, which a first registration does not need
    from vgan.registry.own_code import open_sampler

    log.info("evaluating champion %s version %s on the challenger's held-out clips", champion.name, champion.version)
    with ExitStack() as stack:
        try:
            package, _ = stack.enter_context(tracking.downloaded(workspace, champion))
        except CorruptDataError as error:
            raise _IncomparableError(error.message) from error
        try:
            made = evaluate_generator(
                open_sampler(package), workspace, judged.dataset, run, judged.config, version=judged.dataset_digest
            )
        except ConfigError as error:  # it makes clips of another size or other classes, or its code does not run here
            raise _IncomparableError(error.message) from error
    write_atomic(cache, made.to_json())
    return made


def _read_evaluation(path: Path) -> Evaluation | None:
    """None for what is not there or damaged: it can be made again."""
    try:
        return Evaluation.from_json(read_bytes(path), str(path)) if path.exists() else None
    except (ConfigError, CorruptDataError):
        return None


def _log_run(candidate: Candidate, verdict: Verdict) -> str:
    """Bring the run's MLflow run up to date, figures, pictures and verdict too; returns its id."""
    workspace, trained, dataset = candidate.workspace, candidate.trained, candidate.dataset
    run_id = tracking.sync_run(workspace, trained.run, dataset, tracking.settings(trained.config, dataset.config))
    tracking.finish_run(workspace, run_id, trained, candidate.evaluation, verdict)
    return run_id


def _upload(candidate: Candidate, name: str, version: MlflowVersion | None, verdict: Verdict) -> MlflowVersion:
    """Bring the MLflow run up to date, upload the package and create the version, each once."""
    workspace, trained = candidate.workspace, candidate.trained
    run_id = _log_run(candidate, verdict)
    if version is not None:
        return version
    card = candidate.card(name)  # the package is hashed and uploaded before there is a version
    source, package_sha256 = tracking.upload_model(workspace, run_id, trained, card)
    tags = {
        tracking.RUN_TAG: trained.run,
        tracking.WEIGHTS_TAG: trained.generator.weights_sha256,
        tracking.PACKAGE_TAG: package_sha256,
        tracking.DATASET_TAG: trained.dataset_digest,
        "vgan.git_commit": trained.git_commit or "",
    }
    return tracking.create_version(workspace, name, run_id, source, tags, card)


def _record(
    candidate: Candidate, version: MlflowVersion, champion: MlflowVersion | None, alias: str, *, unchanged: bool
) -> ModelVersion:
    return ModelVersion(
        model_name=version.name,
        version=str(version.version),
        run=candidate.trained.run,
        weights_sha256=candidate.trained.generator.weights_sha256,
        alias=alias,
        champion=champion is not None and champion.version == version.version,
        unchanged=unchanged,
        outcome=cast(Outcome, version.tags.get(tracking.OUTCOME_TAG, "registered")),
        verdict=version.tags.get(tracking.VERDICT_TAG, ""),
        model_uri=f"models:/{version.name}/{version.version}",
        mlflow_run_id=version.run_id or "",
        tracking_uri=tracking.shown_uri(candidate.workspace),
    )
