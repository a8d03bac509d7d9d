"""How generated clips compare with held-out real ones, and what follows from it."""
