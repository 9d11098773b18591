"""Is run: one module per kind of job, found by entry point."""
