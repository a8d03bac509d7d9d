"""One module per stage: Prefect tasks with retries, artifacts and MLflow around one call into vgan."""

from __future__ import annotations

import logging

from vgan import logs

# A flow on a worker loads this first: what vgan has to say is for the run's page too, and Prefect shows from WARNING
# on unless a logger says otherwise.
for _name in ("vgan", "tasks"):
    if logging.getLogger(_name).level == logging.NOTSET:
        logging.getLogger(_name).setLevel(logging.INFO)
logs.from_environment()
