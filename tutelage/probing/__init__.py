"""Probing what a model knows, and rows that teach it to refuse the rest (docs/knowing.md)."""
