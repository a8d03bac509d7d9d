"""Prefect without a server of the user's: quiet settings, and a temporary server that Ctrl-C does not end too early."""

from __future__ import annotations

import logging
import os
import signal

from flows.cli.temporary_server import mortal_servers
from vgan.errors import VganError

# Prefect and MLflow read these when they are imported; what the user set stays.
QUIET = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "vgan,tasks",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
TERMINAL_SIGNALS = {signal.SIGINT, signal.SIGHUP}


class WithoutTraceback(logging.Filter):
    """Our own errors say what to do in a sentence; the command prints it, so a stack is noise."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, shortened."""
        if record.exc_info and isinstance(record.exc_info[1], VganError):
            record.exc_info = record.exc_text = None
        return True


def prepare_prefect() -> None:
    """Apply the quiet settings and, unless PREFECT_API_URL names a server, start Prefect's temporary one.

    A terminal sends Ctrl-C to every process in front, the temporary server too. If it ended first,
    the flow could not report how it was stopped and would wait a minute for an answer. A blocked
    signal stays blocked in the child, so the server sees only the SIGTERM that Prefect ends it with.
    """
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    logging.getLogger("prefect.flow_runs").addFilter(WithoutTraceback())
    if get_current_settings().api.url:
        return
    get_current_settings().home.mkdir(parents=True, exist_ok=True)  # or the server would fail without a word
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        with mortal_servers():
            SubprocessASGIServer().start()  # one in each process: the flow's client finds it running
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
