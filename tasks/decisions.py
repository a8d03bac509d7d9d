"""What a flow run decided about names whose meaning moves, so that its retries decide the same.

A champion's alias or a dataset's current version may move while a run waits for its retry, or until a person
presses Retry; to follow it then would begin another training, and leave the one that is half done behind. The
workspace keeps the decisions, by the id of the flow run, so that they hold in another process and on another worker:

    flow-runs/<flow run>/<digest of the question>.json
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable

from prefect.runtime import flow_run

from vgan.errors import CorruptDataError
from vgan.records import Record, digest_of
from vgan.storage import read_bytes, write_atomic
from vgan.workspace import Workspace

log = logging.getLogger(__name__)

KEPT_SECONDS = 90 * 86400.0  # after which nobody retries a run
FOLDER = "flow-runs"


class Decision(Record):
    """The first answer to a question."""

    question: str
    answer: str


def decided(
    workspace: Workspace, question: str, answer: Callable[[], str], *, holds: Callable[[str], bool] = lambda _: True
) -> str:
    """What the first attempt of this flow run answered; the answer of now, which is kept, when there is none.

    Args:
        workspace: where decisions are kept.
        question: which one, for people too.
        answer: finds it out.
        holds: whether an answer that was kept can still be followed.
    """
    asker = flow_run.get_id()
    if not asker:  # a task that is called outside of any flow is its own and only attempt
        return answer()
    path = workspace.root / FOLDER / str(asker) / f"{digest_of({'question': question})[:16]}.json"
    if path.exists():
        try:
            known = Decision.from_json(read_bytes(path), str(path)).answer
        except CorruptDataError as error:
            log.warning("%s %s is decided again.", error.message, question)
        else:
            if holds(known):
                return known
    found = answer()
    if not path.parent.exists():
        _forget_old(workspace)
    write_atomic(path, Decision(question=question, answer=found).to_json())
    return found


def _forget_old(workspace: Workspace) -> None:
    """Remove the decisions of flow runs that nobody retries any more."""
    for folder in (workspace.root / FOLDER).glob("*"):
        if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
