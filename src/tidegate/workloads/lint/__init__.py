"""SQL lint: the kind `lint` (a ZIP of files or one statement)."""
