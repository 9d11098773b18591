"""Files that people keep tables in (Excel, CSV) become one typed Parquet file, and a second one of what was bad.

`model` holds the contract, `sizing` judges a file before it is read, `reading` reads it. Importing this package or `model` or
`sizing` loads neither DuckDB nor a reader of Excel files; `reading` runs in the sandbox only.
"""
