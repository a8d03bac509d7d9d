"""The vgan command: one module for each kind of command, options made from vgan.config."""
