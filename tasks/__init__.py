"""One module per stage: Prefect tasks with retries, artifacts and MLflow around one call into vgan."""
