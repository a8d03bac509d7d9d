"""Dataset versions on a bucket."""
