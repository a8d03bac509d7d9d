"""Training: `process.train` supervises, `python -m vgan.training` trains."""
