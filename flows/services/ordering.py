"""The order in which the Prefect server's automations see events, on a machine where SQLite now and then says `locked`.

Prefect tries an event that it could not take note of four times, at once, and then drops it; the next events of the
same flow run wait a quarter of an hour for the one that was lost, and no automation goes on with the run meanwhile.
Here each try waits longer than the one before, and what follows a lost event waits no longer for it.
PREFECT_SERVER_EVENTS_CAUSAL_ORDERING names this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from prefect.server.events.ordering import EventArrivedEarly, MaxDepthExceeded, event_handler, memory
from prefect.server.events.schemas.events import ReceivedEvent

TRIES = 4  # of Prefect's queue in memory
FIRST_PAUSE_SECONDS = 1.0
NO_FAILURES = (EventArrivedEarly, MaxDepthExceeded, memory.EventBeingProcessed)


class CausalOrdering(memory.CausalOrdering):
    """Prefect's own, in memory, with pauses between the tries."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self._failures: dict[UUID, int] = getattr(self, "_failures", {})  # one object a scope, made again and again

    @asynccontextmanager
    async def preceding_event_confirmed(
        self, handler: event_handler, event: ReceivedEvent, depth: int = 0
    ) -> AsyncGenerator[None, None]:
        """Take note of an event in the block, when it is its turn."""
        failures = self._failures.pop(event.id, 0)
        if failures:
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))
        try:
            async with super().preceding_event_confirmed(handler, event, depth):
                yield
        except NO_FAILURES:
            raise
        except Exception:
            if failures + 1 < TRIES:
                self._failures[event.id] = failures + 1
            else:
                await self._go_on_without(event, handler, depth)
            raise

    async def _go_on_without(self, event: ReceivedEvent, handler: event_handler, depth: int) -> None:
        await self.record_event_as_seen(event)
        for waiting in await self.get_followers(event):
            await handler(waiting, depth=depth + 1)
            await self.forget_follower(waiting)
