"""vgan: turn a folder of videos into a registered, continuously retrained video generator."""

__version__ = "0.1.0"
