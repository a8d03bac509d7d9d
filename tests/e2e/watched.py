"""The services of one machine for the tests that look at them in a browser: Prefect, MLflow, one training worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import BIN, free_port, running, wait_until_answers
from served import SECONDS, Served

# Nothing here waits for a schedule; the less the server writes by itself, the less SQLite makes a click wait.
QUIET = ("SCHEDULER", "LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "DB_VACUUM", "CLEANUP_RECONCILER", "FOREMAN")


class Watched(Served):
    """Both servers and the worker of the pool `vgan-train`; `ui` and `mlflow` are what a browser opens.

    Args:
        folder: for logs, databases and the workspace.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder, folder)
        port = free_port()
        self.ui = f"http://127.0.0.1:{self.port}"
        self.mlflow = f"http://127.0.0.1:{port}"
        self.root = folder / "workspace"
        self.env |= {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in QUIET}
        self.env |= {
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "3",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "VGAN_WORKSPACE": str(self.root),
        }
        store = ("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}")
        kept = ("--artifacts-destination", str(folder / "mlartifacts"))
        self._mlflow = [str(BIN / "mlflow"), "server", "--port", str(port), "--workers", "1", *store, *kept]

    @contextmanager
    def started(self) -> Iterator[Watched]:
        """All of it, for the length of the block."""
        log = self.folder / "mlflow.log"
        with running(self._mlflow, log, env=self.env, cwd=self.folder) as process:
            try:
                self.start_server()
                self.deploy()
                wait_until_answers(f"{self.mlflow}/health", process, log, SECONDS)
                with self.worker():
                    yield self
            finally:
                self.close()
