"""A flow that fails says why first: its state and a page of the run begin with the reason and the remedy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Failed

from tasks import cancellation
from tasks.dataset_summary import literal
from tasks.orphaned import outlive_the_worker
from tasks.showing import Page
from vgan.errors import VganError
from vgan.logs import one_line

P = ParamSpec("P")
T = TypeVar("T")

KEY = "failure"
MOST_LETTERS = 4000
AGAIN = (
    "**Retry** on this page goes on: what is finished is found and not done again, and a training resumes from its "
    "newest checkpoint."
)
AFTERWARDS = "Start the deployment again when that is done; what is finished already is not done again."
UNEXPECTED = "This is no failure that vgan foresees: the Logs tab has the traceback. The same run may be tried again."


def explained(body: Callable[P, T]) -> Callable[P, T]:
    """Make a flow's function end in a state whose message is what was wrong and what to do next.

    An exception would come with a preamble of Prefect's. Whoever calls the flow gets the exception all the same.
    """

    @functools.wraps(body)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        outlive_the_worker()
        try:
            return body(*arguments, **named)
        except TerminationSignal:
            if not cancellation.is_cancelled():
                raise
            cancelled: Any = Cancelled(message=cancellation.SAID)
            return cancelled
        except VganError as error:
            show(error)
            failed: Any = Failed(message=one_line(str(error))[:MOST_LETTERS], data=error)
            return failed
        except Exception as error:
            show(error)
            raise

    # Prefect makes the form from it, and would look for the names of types in this module.
    signature = inspect.signature(body, eval_str=True)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {name: held.annotation for name, held in signature.parameters.items()}
    call.__annotations__["return"] = signature.return_annotation
    return call


def show(error: Exception) -> None:
    """Make the run's page of the failure."""
    Page(KEY).show(failure_markdown(error), f"Why it failed: {literal(reason(error)[:300])}")


def reason(error: BaseException) -> str:
    """What was wrong, in a sentence."""
    if isinstance(error, VganError):
        return error.message[:MOST_LETTERS]
    return f"{type(error).__name__}: {error}"[:MOST_LETTERS]


def remedy(error: BaseException) -> str:
    """What to do next."""
    return (error.hint[:MOST_LETTERS] if isinstance(error, VganError) else "") or UNEXPECTED


def failure_markdown(error: Exception) -> str:
    """Reason, remedy, whether a retry helps, exit code, and where more is said."""
    known = isinstance(error, VganError)
    again = AGAIN if not known or error.exit_code == 75 or error.retryable else AFTERWARDS
    lines = [f"## {literal(reason(error))}", f"**What to do:** {literal(remedy(error))}", again]
    lines.append(f"Exit code of the command line for this: {error.exit_code if known else 1}")
    lines += [literal(note) for note in getattr(error, "__notes__", ())]
    lines.append("All lines of this run, those of its training process for people too, are in the Logs tab.")
    return "\n\n".join(lines)
