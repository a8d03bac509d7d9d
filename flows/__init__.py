"""What users deploy, schedule and trigger: flows that only chain tasks, and the vgan command."""
