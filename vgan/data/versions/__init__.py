"""Versions of a dataset: making, judging, committing, listing, pruning."""
