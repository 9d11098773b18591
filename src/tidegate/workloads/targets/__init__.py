"""Where tables go: a typed Parquet file becomes rows of a table in SQLite, PostgreSQL, MySQL or MariaDB.

`address` and `model` are light and may be used by a judge in the server; `opening.open_target` and all behind it run in the
sandbox, beside DuckDB.
"""
