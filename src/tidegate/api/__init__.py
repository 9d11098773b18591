"""Speaks HTTP: routes by subject, schemas, one shape for every error."""

from __future__ import annotations

from tidegate.api.application import create_app

__all__ = ["create_app"]
