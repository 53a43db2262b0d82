"""Data made by models: a runner, methods (one per file), filters and selection."""
