"""Trains a language model end to end: corpus, pre-training, SFT, evaluation, chat."""

__version__ = "0.2.0"
