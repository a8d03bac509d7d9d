"""Flow runs that were under way when the services stopped, or died: none of them is lost."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from flows.services.servers import POOL, TRAINING_POOL, Server, ask

log = logging.getLogger("vgan.services")

UNDER_WAY = ("RUNNING", "PENDING", "CANCELLING")
ENDED_WELL = ("COMPLETED", "CANCELLED", "CANCELLING", "SCHEDULED", "PAUSED")
MOST = 200  # runs that Prefect gives at a time


def under_way(place: Server) -> list[dict[str, Any]]:
    """The runs of the pools that a worker has begun and not ended, as Prefect's API shows them."""
    return _unfinished(place, work_pools={"name": {"any_": [POOL, TRAINING_POOL]}})


def _unfinished(place: Server, **more: Any) -> list[dict[str, Any]]:
    asked = {"flow_runs": {"state": {"type": {"any_": UNDER_WAY}}}, "limit": MOST, **more}
    return ask(place.api, "/flow_runs/filter", asked)


def put_back(place: Server, ids: list[str]) -> int:
    """Schedule again those of the runs that did not end by themselves; the next worker goes on with them.

    Returns:
        How many wait now; an automation may have put some of them back before.
    """
    if not ids:
        return 0
    known = ask(place.api, "/flow_runs/filter", {"flow_runs": {"id": {"any_": ids}}, "limit": MOST})
    cut = [run["id"] for run in known if run["state_type"] not in ENDED_WELL]
    message = "The services were stopped; it goes on when they are up again."
    again = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": message}
    for run in cut:
        ask(place.api, f"/flow_runs/{run}/set_state", {"state": again, "force": True})
    return len(cut) + sum(run["state_type"] == "SCHEDULED" for run in known)


def expect_signs_of_life(place: Server) -> None:
    """Let the automations judge the runs that were under way when the server stopped.

    The server forgets what it waited for while it is away, and a run whose machine went down with
    it would stay Running for ever. So each is taken to have said now that it lives: it must say so again.
    """
    names = {"RUNNING": "heartbeat", "PENDING": "Pending", "CANCELLING": "Cancelling"}
    silent = _unfinished(place)  # also flows within flows, and those started in a terminal
    events = [
        {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": f"prefect.flow-run.{names[run['state_type']]}",
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{run['id']}",
                "prefect.resource.name": run["name"],
            },
            "payload": {"said-by": "vgan up"},
        }
        for run in silent
    ]
    if events:
        log.info("%d runs were under way when the server stopped; they go on, or are started again", len(events))
        ask(place.api, "/events", events)
