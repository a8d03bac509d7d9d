"""Register a run: gate, upload, version, alias. Plain functions; `register.py` makes a task of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tasks import tracking
from tasks.tracking import MlflowVersion
from vgan.config import RegisterConfig
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, GateFailedError
from vgan.evaluation.card import model_card
from vgan.evaluation.gate import Verdict, decide
from vgan.records import Dataset, Evaluation, ModelVersion, TrainedRun
from vgan.storage import lease, read_bytes, write_atomic
from vgan.workspace import Workspace

log = logging.getLogger(__name__)


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

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return model_card(self.trained, self.dataset, self.evaluation)


def register(workspace: Workspace, run: str, config: RegisterConfig) -> ModelVersion:
    """Register the run's generator and move the alias to it when it beats the present holder.

    Idempotent by the weights' hash: a repeated call finds the version, and one that was cut
    between upload and alias goes on where it stopped.

    Raises:
        ConfigError: the run was not trained or not evaluated.
        GateFailedError: samples that are not finite or do not differ; nothing is registered.
        RegistryError: the server did not answer; the same command goes on.
        ResumableError: another process registers this model right now.
    """
    candidate = Candidate.load(workspace, run)
    name = config.model_name or candidate.trained.dataset
    with lease(workspace.model_lease(name)), tracking.registry_errors(f"registering {name}", workspace):
        api = tracking.client(workspace)
        version = tracking.find_version(api, name, candidate.trained.generator.weights_sha256)
        champion = tracking.champion_version(api, name, config.alias)
        if version and _is_settled(version, candidate.evaluation):
            return _record(candidate, version, champion, config.alias, unchanged=True)
        verdict = _judge(candidate, version, champion)
        version = _upload(candidate, name, version)
        if verdict.promote:
            api.set_registered_model_alias(name, config.alias, version.version)
            champion = version
        # Last, so that a registration cut before here is judged again by the next call.
        api.set_model_version_tag(name, version.version, tracking.EVALUATION_TAG, candidate.evaluation.digest())
        api.set_model_version_tag(name, version.version, tracking.VERDICT_TAG, " ".join(verdict.reasons))
        version = api.get_model_version(name, version.version)
        return _record(candidate, version, champion, config.alias, unchanged=False)


def _is_settled(version: MlflowVersion, evaluation: Evaluation) -> bool:
    return tracking.VERDICT_TAG in version.tags and version.tags.get(tracking.EVALUATION_TAG) == evaluation.digest()


def _judge(candidate: Candidate, version: MlflowVersion | None, champion: MlflowVersion | None) -> Verdict:
    """Ask the gate, with the champion's figures on the same held-out clips; raises GateFailedError."""
    holds_it = version is not None and champion is not None and version.version == champion.version
    rival = None if champion is None or holds_it else champion_evaluation(candidate, champion)
    verdict = decide(candidate.evaluation, rival)
    for reason in verdict.reasons:
        log.info("gate: %s", reason)
    if not verdict.register:
        run = candidate.trained.run
        raise GateFailedError(
            f"run {run} is not registered: {' '.join(verdict.reasons)}",
            hint=f"Look at {candidate.workspace.run(run).report}; train longer or on more varied clips.",
        )
    return verdict


def champion_evaluation(candidate: Candidate, champion: MlflowVersion) -> Evaluation:
    """The champion's figures under the candidate's dataset version, protocol and settings.

    Taken from its run folder when they are there, else made from the registered weights.
    """
    workspace = candidate.workspace
    weights = champion.tags[tracking.WEIGHTS_TAG]
    run = champion.tags[tracking.RUN_TAG]
    cache = workspace.run(candidate.trained.run).champion_evaluation
    for path in (workspace.run(run).evaluation, cache):
        if path.exists():
            known = Evaluation.from_json(read_bytes(path), str(path))
            if known.weights_sha256 == weights and comparable(known, candidate.evaluation):
                return known
    from vgan.evaluation.evaluate import evaluate_generator  # torch, which a first registration does not need

    log.info("evaluating champion %s version %s on the challenger's held-out clips", champion.name, champion.version)
    with tracking.downloaded(workspace, champion) as (package, _):
        judged = candidate.evaluation
        made = evaluate_generator(package, workspace, judged.dataset, run, judged.config, version=judged.dataset_digest)
    write_atomic(cache, made.to_json())
    return made


def comparable(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations used the same clips, code and settings."""
    return (one.dataset_digest, one.protocol, one.config) == (other.dataset_digest, other.protocol, other.config)


def _upload(candidate: Candidate, name: str, version: MlflowVersion | None) -> MlflowVersion:
    """Bring the MLflow run up to date, upload the package and create the version, each once."""
    workspace, trained, dataset = candidate.workspace, candidate.trained, candidate.dataset
    run_id = tracking.sync_run(workspace, trained.run, dataset, tracking.settings(trained.config, dataset.config))
    tracking.finish_run(workspace, run_id, trained, candidate.evaluation, candidate.card)
    if version is not None:
        return version
    source, package_sha256 = tracking.upload_model(workspace, run_id, trained, candidate.card)
    tags = {
        tracking.RUN_TAG: trained.run,
        tracking.WEIGHTS_TAG: trained.generator.weights_sha256,
        tracking.PACKAGE_TAG: package_sha256,
        "vgan.dataset_digest": trained.dataset_digest,
        "vgan.git_commit": trained.git_commit or "",
    }
    return tracking.create_version(workspace, name, run_id, source, tags, candidate.card)


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
        verdict=version.tags.get(tracking.VERDICT_TAG, ""),
        model_uri=f"models:/{version.name}/{version.version}",
        mlflow_run_id=version.run_id or "",
        tracking_uri=tracking.shown_uri(candidate.workspace),
    )
