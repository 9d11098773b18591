"""Is run: one module per kind of job, found by entry point.

The module of a kind (`sql`, `inspect`) is light and lives in the server; its runner (`sql_run`,
`inspect_run`) is heavy and is imported only by the zygote and its children.
"""
