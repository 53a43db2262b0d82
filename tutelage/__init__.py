"""Tutelage raises a language model from raw text to an assistant."""

__version__ = "0.1.0"
