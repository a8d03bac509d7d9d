"""Batches of videos: made, waiting, rewritten."""
