"""Reads files, local or remote: opened with retries, decompressed with repair, as bytes, text or rows."""
