"""Upgrades and downgrades by Alembic. Imported only when the tables have to change: it takes 0.4 s."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def config(url: str) -> Config:
    """Alembic's configuration for a database, without a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    made.attributes["url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables up to a revision."""
    command.upgrade(config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the tables back to a revision; `base` removes them."""
    command.downgrade(config(url), revision)


def revisions() -> tuple[str, ...]:
    """All revisions from first to last."""
    script = ScriptDirectory.from_config(config("sqlite://"))
    return tuple(reversed([revision.revision for revision in script.walk_revisions()]))
