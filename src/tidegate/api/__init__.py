"""Speaks HTTP: routes by subject, schemas, one shape for every error."""
