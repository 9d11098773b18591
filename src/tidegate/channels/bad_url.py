"""What is wrong with the URL of a channel, said without the URL."""

from __future__ import annotations


class BadUrl(ValueError):
    """The text may be shown; that of any other ValueError may hold a part of the URL."""
