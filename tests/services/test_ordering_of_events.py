"""Events that the server could not take note of are tried again, and hold nothing up for long."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prefect.server.events.schemas.events import ReceivedEvent

from flows.services import ordering


def _event(follows: UUID | None = None) -> ReceivedEvent:
    now = datetime.now(UTC)
    resource = {"prefect.resource.id": "prefect.flow-run.1"}
    return ReceivedEvent.model_validate(
        {"occurred": now, "received": now, "event": "made", "resource": resource, "id": uuid4(), "follows": follows}
    )


def _take_note(events: list[ReceivedEvent], failing: dict[UUID, int]) -> tuple[list[UUID], list[float]]:
    """What is seen when each event is tried at most four times, as the server does; and the pauses."""
    seen: list[UUID] = []
    pauses: list[float] = []

    async def handle(event: ReceivedEvent, depth: int = 0) -> None:
        async with ordering.CausalOrdering("tested").preceding_event_confirmed(handle, event, depth):
            if failing.get(event.id, 0):
                failing[event.id] -= 1
                raise OSError("database is locked")
            seen.append(event.id)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def all_of_them() -> None:
        waiting = [(event, 0) for event in events]
        while waiting:
            event, tries = waiting.pop(0)
            try:
                await handle(event)
            except ordering.EventArrivedEarly:
                continue
            except OSError:
                if tries + 1 < ordering.TRIES:
                    waiting.append((event, tries + 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering.asyncio, "sleep", pause)
        ordering.CausalOrdering.clear_all_scopes()
        asyncio.run(all_of_them())
    return seen, pauses


def test_an_event_that_met_a_locked_database_is_tried_again_later_and_before_its_followers() -> None:
    first = _event()
    second = _event(first.id)
    assert _take_note([first, second], {first.id: 2}) == ([first.id, second.id], [1.0, 2.0])


def test_what_follows_a_lost_event_does_not_wait_for_it() -> None:
    first = _event()
    second = _event(first.id)
    third = _event(second.id)
    assert _take_note([first, second, third], {first.id: 4})[0] == [second.id, third.id]
