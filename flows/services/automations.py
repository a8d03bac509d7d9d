"""Automations of the Prefect server, by which no run stays Running for ever after its process or machine has died.

A flow run says now and then that it lives. When it stops saying so, the server crashes it; a run that
has crashed is scheduled again, and goes on from what is committed: batches, checkpoints, registered versions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flows.services.servers import POOL, TRAINING_POOL

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

# Our workers' runs say it every half a minute, others, as Prefect has it, every three minutes; and one may be lost.
SILENT_SECONDS = 420
UNSTARTED_SECONDS = 600
# The worker tells of a killed process twice, some seconds apart: the second word would crash the next attempt.
CRASHED_SECONDS = 30
CANCELLING_SECONDS = 180
MOST_STARTS = 5  # of a run that crashes each time; then it is left to a person

HEARTBEAT = "prefect.flow-run.heartbeat"
STATES = ("Completed", "Failed", "Crashed", "Cancelled", "Paused", "Suspended", "Scheduled", "AwaitingRetry")
AT_WORK = ("Pending", "Running", "Cancelling")
ENDED_OR_WAITING = {f"prefect.flow-run.{state}" for state in STATES}


def make_automations(client: SyncPrefectClient, silent_seconds: float = SILENT_SECONDS) -> list[str]:
    """Create the automations that the server does not have yet; one that a person changed or paused stays as it is.

    Args:
        client: of the server.
        silent_seconds: after so long without a heartbeat a run is taken for dead.

    Returns:
        The names of those that were created.
    """
    missing = [a for a in _automations(silent_seconds) if not client.read_automations_by_name(a.name)]
    for automation in missing:
        client.create_automation(automation)
    return [automation.name for automation in missing]


def _automations(silent_seconds: float) -> list[AutomationCore]:
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ActionTypes, ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    def absence(after: str, expect: set[str], seconds: float, **narrowed: Any) -> EventTrigger:
        every: dict[str, Any] = {"match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})}
        return EventTrigger(
            **(every | narrowed),
            for_each={"prefect.resource.id"},
            after={f"prefect.flow-run.{after}"},
            expect=expect,
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        )

    crashed = absence(
        "Crashed",
        {f"prefect.flow-run.{state}" for state in (*AT_WORK, *STATES) if state != "Crashed"},
        CRASHED_SECONDS,
        match=ResourceSpecification(
            {
                "prefect.resource.id": "prefect.flow-run.*",
                # One that never began has no number: it would crash again at once.
                "prefect.run-count": [str(number) for number in range(1, MOST_STARTS)],
            }
        ),
        match_related=ResourceSpecification(
            {"prefect.resource.role": "work-pool", "prefect.resource.name": [POOL, TRAINING_POOL]}
        ),
    )

    def change(to: StateType, message: str, *, name: str | None = None, force: bool = False) -> list[ActionTypes]:
        return [ChangeFlowRunState(state=to, message=message, name=name, force=force)]

    return [
        AutomationCore(
            name="vgan: crash runs that fell silent",
            description="A run whose process or machine has died stops telling the server that it lives.",
            trigger=absence("heartbeat", {HEARTBEAT, "prefect.flow-run.Cancelling", *ENDED_OR_WAITING}, silent_seconds),
            actions=change(StateType.CRASHED, "No sign of life: the process, its worker or the machine has died."),
        ),
        AutomationCore(
            name="vgan: go on with crashed runs",
            description=f"A run that crashed is started again, {MOST_STARTS} times in all; what it committed stays.",
            trigger=crashed,
            actions=change(StateType.SCHEDULED, "Crashed; going on from what is committed.", name="AwaitingRetry"),
        ),
        AutomationCore(
            name="vgan: submit runs again that never began",
            description="A worker took the run and died before it had started the process.",
            trigger=absence(
                "Pending",
                {HEARTBEAT, "prefect.flow-run.Running", "prefect.flow-run.Cancelling", *ENDED_OR_WAITING},
                UNSTARTED_SECONDS,
            ),
            actions=change(
                StateType.SCHEDULED, "No worker started it; submitted again.", name="AwaitingRetry", force=True
            ),
        ),
        AutomationCore(
            name="vgan: end cancellations that nobody finished",
            description="The worker that was to stop the run has died.",
            trigger=absence("Cancelling", ENDED_OR_WAITING, CANCELLING_SECONDS),
            actions=change(StateType.CANCELLED, "Its worker has died.", force=True),
        ),
    ]
