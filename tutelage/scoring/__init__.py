"""Verifiers: an answer and its gold to an outcome. RL rewards, evaluations, synthesis and tools share them."""
