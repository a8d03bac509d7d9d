"""From shards to batches of clips."""
