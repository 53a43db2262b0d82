"""Published findings on fine-tuning, replicated at small scale in the built-in world, each with a verdict."""
