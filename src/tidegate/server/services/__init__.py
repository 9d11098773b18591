"""Background duties of the server, one to a module."""
