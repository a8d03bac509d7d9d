"""Servers and workers that go on in the background of one machine: what `vgan up`, `down` and `status` are made of."""
