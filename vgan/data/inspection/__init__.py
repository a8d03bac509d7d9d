"""What a dataset consists of, for people."""
