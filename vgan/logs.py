"""One format of log lines for every process: a line for people, or with VGAN_JSON_LOGS=1 a JSON object for machines.

The command line, a flow on a worker and Prefect's own lines in those processes use it; a training process always
writes the line for people into its train.log, and its supervisor hands on what others must know.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

from .errors import VganError

VARIABLE = "VGAN_JSON_LOGS"
TEXT = "%(levelname)s %(name)s: %(message)s"
# What Prefect and MLflow read when they are imported. The first is Prefect's name for the class of its format.
SETTINGS = {
    "PREFECT_LOGGING_FORMATTERS_STANDARD_": "vgan.logs.JsonLines",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}
RUN_FIELDS = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name")

_about: ContextVar[Mapping[str, str]] = ContextVar(
    "about", default=MappingProxyType({})
)  # what the lines of this block are about
# Told of by layers that know more, such as which flow run this is.
sources: list[Callable[[], Mapping[str, str]]] = []


@contextmanager
def about(**fields: str) -> Generator[None]:
    """Say in every JSON line of the block what it is about: stage="train", run="mine-1a2b"."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class TextLines(logging.Formatter):
    """The line for people. What a message brings from outside can neither break it nor command the terminal."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        return one_line(super().formatMessage(record))


class JsonLines(logging.Formatter):
    """One JSON object in ASCII: time, level, logger, message, and where known what it is about and the exception.

    Takes and ignores what configurations of other formatters bring.
    """

    def __init__(self, *ignored: object, **settings: object) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for source in sources:
            told |= dict(source())
        told |= dict(_about.get())
        told |= {name: str(record.__dict__[name]) for name in RUN_FIELDS if record.__dict__.get(name)}
        told |= record.__dict__.get("told", {})
        if record.exc_info and record.exc_info[0]:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def one_line(text: str) -> str:
    """`text` with control characters and undecodable bytes written out."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in safe)


def wanted() -> bool:
    """Whether the environment asks for JSON."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "true", "yes", "on")


def as_text(names: Iterable[str]) -> None:
    """Send the lines of these loggers, from INFO on, to standard error for people."""
    for name in names:
        _own(logging.getLogger(name), TextLines(), sys.stderr)


def as_json(names: Iterable[str] = ("vgan", "tasks")) -> None:
    """Turn all that this process says on standard error into JSON lines; to be called again after imports that log.

    What is written there past logging, by whatever library, becomes lines of the logger "stderr".
    """
    os.environ[VARIABLE] = "1"  # for processes that are started by this one
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    if not isinstance(sys.stderr, Lines):
        sys.stderr = Lines(sys.stderr)
        logging.captureWarnings(True)
    stream = sys.stderr.stream
    for name in names:
        _own(logging.getLogger(name), JsonLines(), stream)
    root = logging.getLogger()
    if not any(isinstance(handler, JsonHandler) for handler in root.handlers):
        root.addHandler(JsonHandler(stream))
    others = [held for held in logging.Logger.manager.loggerDict.values() if isinstance(held, logging.Logger)]
    for logger in (root, *others):
        for handler in list(logger.handlers):
            # Not a file's, nor a handler that sends to a server.
            if _is_shown(handler):
                logger.removeHandler(handler)
                if logger is not root and not logger.propagate:
                    logger.addHandler(JsonHandler(stream))


def from_environment() -> None:
    """Write JSON lines if the environment asks for them: what a flow on a worker calls when it is loaded."""
    if wanted():
        as_json()


def complain(error: VganError) -> None:
    """An error that ends a command, as its last line."""
    told = {"hint": error.hint, "code": error.exit_code}
    logging.getLogger("vgan").error("%s", error.message, extra={"told": told})


class JsonHandler(logging.StreamHandler[TextIO]):
    """Marks what is ours."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonLines())


def _is_shown(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, (JsonHandler, logging.FileHandler))


def _own(logger: logging.Logger, formatter: logging.Formatter, stream: TextIO) -> None:
    """Make our handler the only one that shows the logger's lines; those that send them to a server stay."""
    handler = JsonHandler(stream)
    handler.setFormatter(formatter)
    kept = [held for held in logger.handlers if not isinstance(held, logging.StreamHandler)]
    logger.handlers = [handler, *kept]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class Lines(io.TextIOBase):
    """Standard error that turns each line that is no JSON object of ours into one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        """Log what is whole of the lines."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Log the rest."""
        self._say(self._rest)
        self._rest = ""
        self.stream.flush()

    def fileno(self) -> int:
        """Of the real one, for processes that are started."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Never: nobody is to draw here."""
        return False

    def _say(self, line: str) -> None:
        if not line.strip():
            return
        if line.startswith('{"time": '):  # from a handler that was made for this stream, or so it seems
            with contextlib.suppress(ValueError):
                self.stream.write(json.dumps(json.loads(line)) + "\n")
                return
        record = logging.LogRecord("stderr", logging.INFO, "", 0, line.rstrip("\r"), None, None)
        self.stream.write(JsonLines().format(record) + "\n")
