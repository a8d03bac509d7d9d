"""The folder that a registered model is made of, and the code that loads it anywhere."""
