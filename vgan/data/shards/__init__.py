"""Shards: how a clip is stored, written and found again."""
