"""Findings that are measured on a published checkpoint too, by number: one file each."""
