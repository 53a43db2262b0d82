"""Known findings on fine-tuning, replayed at small scale against the built-in world, each with an honest verdict."""
