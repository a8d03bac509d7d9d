"""From video files to shards, and from shards to batches of clips."""
