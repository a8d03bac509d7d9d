"""Where the batches of an ingest run: in threads of this process, or on a Dask or Ray cluster.

Each engine is Prefect's task runner for it. A batch is one task, and one slot of the cluster, with decoders of
its own; plan and commit stay in the flow's process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from vgan.config import IngestConfig
from vgan.data.decoding.pool import cores, shared_pool
from vgan.errors import ConfigError, MissingToolError, StorageError

# Each batch in a thread decodes with all workers already; a second one at a time fills its gaps.
THREADS = 2
SUBMITTED = {"threads": 2 * THREADS, "dask": 500, "ray": 500}  # a plan of a million videos never waits as futures
LOCAL_WORKERS = 2  # at least, of a cluster that is started here
LOOPBACK = "127.0.0.1"
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody outside
    "RAY_worker_niceness": "0",  # 15 unless said, which beside any other work is standstill
}


@contextmanager
def batch_runner(config: IngestConfig) -> Iterator[TaskRunner[Any]]:
    """The started runner that `config.runner` names; what it still does ends with the block.

    Raises:
        MissingToolError: the engine is not installed.
        ConfigError: a cluster of other machines could not tell Prefect of its work.
        StorageError: the cluster does not answer.
    """
    if config.runner == "threads":
        # Held open here, so that the decoders stay alive from batch to batch.
        with ThreadPoolTaskRunner(max_workers=THREADS) as runner, shared_pool(config.workers) as pool:
            try:
                yield runner
            except BaseException:
                # What still decodes ends now, and with it the tasks that Prefect waits for.
                pool.close()
                raise
        return
    _check_installed(config.runner)
    engine = _dask if config.runner == "dask" else _ray
    with _known_server(config), engine(config) as runner:
        yield runner


def _check_installed(engine: str) -> None:
    if find_spec(f"prefect_{engine}") is None:
        raise MissingToolError(
            f"the runner '{engine}' is not installed.", hint=f"Run `pip install 'vgan[{engine}]'`, on each machine."
        )


def _known_server(config: IngestConfig) -> Any:
    """Tell the cluster's processes of Prefect's temporary server: each would start one of its own."""
    if get_current_settings().api.url:
        return nullcontext()
    if config.runner_address:
        raise ConfigError(
            "no Prefect server is named, and this machine's temporary one is out of the cluster's reach.",
            hint="Start one and set PREFECT_API_URL, here and on each machine of the cluster.",
        )
    server = SubprocessASGIServer()
    server.start()
    return temporary_settings({PREFECT_API_URL: server.api_url})


@contextmanager
def _dask(config: IngestConfig) -> Iterator[TaskRunner[Any]]:
    from prefect_dask.task_runners import DaskTaskRunner

    options = None
    if not config.runner_address:
        workers = _local_workers(config)
        options = {"n_workers": workers, "threads_per_worker": 1, "host": LOOPBACK, "dashboard_address": None}
    with DaskTaskRunner(address=config.runner_address, cluster_kwargs=options) as runner:
        with _reaching(config):
            _ = runner.client  # connects
        yield runner


@contextmanager
def _ray(config: IngestConfig) -> Iterator[TaskRunner[Any]]:
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from prefect_ray.context import remote_options
    from prefect_ray.task_runners import RayTaskRunner

    decoders = config.workers or 1
    options = None
    if not config.runner_address:
        num_cpus = _local_workers(config) * decoders
        options = {"num_cpus": num_cpus, "include_dashboard": False, "log_to_driver": False}
    runner = RayTaskRunner(address=config.runner_address or "local", init_kwargs=options)
    with remote_options(num_cpus=decoders), ExitStack() as started:
        with _reaching(config):
            started.enter_context(runner)
        yield runner


def _local_workers(config: IngestConfig) -> int:
    return max(LOCAL_WORKERS, cores() // (config.workers or 1))


@contextmanager
def _reaching(config: IngestConfig) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(
            f"the {config.runner} cluster {config.runner_address or 'of this machine'} does not answer: {error}.",
            hint="See whether it runs, and whether runner_address is its address.",
        ) from error
