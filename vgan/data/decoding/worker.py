"""`python -m vgan.data.decoding.worker`: takes one video after another for its asker, and may die of any of them.

One line of JSON a question (a TakeRequest), one line an answer: {"ready": true} once at the start, then
{"taken": TakenVideo}, {"refused": Refused}, or {"failed": ...} for what is no fault of the video, such as a full
disk. It ends when its stdin ends. `pool.DecoderPool` starts it with limits, and ends it when it takes too long.
"""

from __future__ import annotations

import json
import os
import sys

from ...errors import VganError
from .take import take_video
from .taken import Refused, TakeRequest


def main() -> None:
    """Answer until there are no more questions."""
    # What any library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    answers.write(b'{"ready": true}\n')
    for line in sys.stdin.buffer:
        answer, worn = _answer(TakeRequest.from_json(line))
        _write_all(answers.fileno(), answer)
        if worn:
            return


def _answer(request: TakeRequest) -> tuple[bytes, bool]:
    """An answer's line, and whether this process should not be asked again."""
    worn = False
    try:
        outcome = take_video(request)
    except VganError as error:
        failure = {"exit_code": error.exit_code, "message": error.message, "hint": error.hint}
        return json.dumps({"failed": failure}).encode() + b"\n", worn
    except MemoryError:
        outcome = Refused(reason="too_large", detail="decoding it takes more memory than a worker may have")
        worn = True
    kind = "refused" if isinstance(outcome, Refused) else "taken"
    return f'{{"{kind}": {outcome.to_json()}}}\n'.encode(), worn


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


if __name__ == "__main__":
    main()
