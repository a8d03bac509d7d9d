"""A run that a person cancels ends as Cancelled, not as Crashed.

The worker ends the process of a run that is cancelled by SIGTERM. Where Prefect's engine is not told why, it reports
a crash, and a crashed run is one that is gone on with.
"""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

SAID = "Cancelled. What was committed stays, and Retry goes on from there."


def is_cancelled() -> bool:
    """Whether somebody has cancelled this flow run; False where the server does not say, and in a subflow."""
    try:
        if flow_run.get_parent_flow_run_id() is not None:
            return False
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run.get_id()).state  # type: ignore[arg-type]
    except Exception:
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
