"""What can go wrong, as a person reads it: message, remedy, exit code, and whether a retry can help.

Exit codes: 0 ok, 2 bad configuration, 65 bad input, 70 diverged, 74 input/output,
75 resumable (the same command goes on), 76 corrupt data, 77 gate failed.
"""

from __future__ import annotations


class VganError(Exception):
    """Base of every error that vgan raises on purpose.

    Args:
        message: what was wrong and where.
        hint: what to do next; printed on a line of its own.
    """

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments are lost by the default protocol of exceptions.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[VganError], message: str, hint: str) -> VganError:
    return kind(message, hint=hint)


class ConfigError(VganError):
    """A value, name or installation that cannot work: fix it and call again."""

    exit_code = 2


class MissingToolError(ConfigError):
    """A program or package that a stage needs is not installed."""


class BadInputError(VganError):
    """No usable input: nothing readable, or too much of it rejected."""

    exit_code = 65


class DivergedError(VganError):
    """Training met a loss or gradient that is not finite; the last good checkpoint stays."""

    exit_code = 70


class StorageError(VganError):
    """Reading or writing failed: disk full, no permission, folder gone."""

    exit_code = 74
    retryable = True


class ResumableError(VganError):
    """Work stopped from outside (signal, lease held, child killed); the same command resumes."""

    exit_code = 75
    retryable = True


class StoppedError(ResumableError):
    """The user or the system asked this process to stop: resumable, but never retried unasked."""

    retryable = False


class CorruptDataError(VganError):
    """A shard, checkpoint or record does not match its recorded hash."""

    exit_code = 76


class GateFailedError(VganError):
    """The model was evaluated and must not be registered."""

    exit_code = 77


class RegistryError(VganError):
    """The tracking server or model registry did not answer as needed."""

    exit_code = 75
    retryable = True


BY_EXIT_CODE: dict[int, type[VganError]] = {
    kind.exit_code: kind
    for kind in (
        ConfigError,
        BadInputError,
        DivergedError,
        StorageError,
        ResumableError,
        CorruptDataError,
        GateFailedError,
    )
}
