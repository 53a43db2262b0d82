"""Diagnoses a finished run from its own numbers: symptom, cause and fix, each with its evidence."""
