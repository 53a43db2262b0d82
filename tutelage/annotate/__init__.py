"""People write demonstrations, rank answers and choose checkpoints: a local page over an append-only log."""
