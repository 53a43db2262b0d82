"""Scaling laws: loss as a function of parameters, tokens and compute, with intervals."""
