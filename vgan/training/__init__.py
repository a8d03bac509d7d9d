"""The training loop and everything that makes it exact and restartable."""
