"""Pages of a run in Prefect: for people, so a server that is away or slow neither stops nor delays the work."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
TRIES = 3
PAUSE_SECONDS = 0.5  # between them


class Page:
    """One Markdown artifact of the run that makes it, written over as the run goes on.

    Args:
        key: of the artifact: small letters, digits and dashes.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._artifact: UUID | None = None
        self._lock = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether something of it is shown."""
        return self._artifact is not None

    def show(self, markdown: str, description: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Show this now; after `seconds` it is left to a thread that may or may not succeed."""
        # The copied context says which run the artifact belongs to.
        context = copy_context()
        sending = threading.Thread(
            target=context.run, args=(self._send, markdown, description), daemon=True, name=f"{self.key}-page"
        )
        sending.start()
        sending.join(seconds)

    def _send(self, markdown: str, description: str) -> None:
        with self._lock:
            for last in (False,) * (TRIES - 1) + (True,):
                try:
                    self.write(markdown, description)
                    return
                except Exception as error:
                    if last:
                        log.debug("%s is not shown (%s)", self.key, type(error).__name__)
                    time.sleep(PAUSE_SECONDS)

    def write(self, markdown: str, description: str) -> None:
        """Show this; raises what Prefect's client does."""
        if self._artifact is None:
            made = create_markdown_artifact(markdown, key=self.key, description=description)
            self._artifact = cast(UUID, made)  # outside a coroutine it is never one
        else:
            update = ArtifactUpdate(data=markdown, description=description)
            get_client(sync_client=True).update_artifact(self._artifact, update)
