"""What workers feel, its history, and the rules on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import WITHOUT_ROWID, LongText, Name, Word

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Workers and servers of the version before tell nothing of it, and are believed to feel no pressure."""
    op.add_column("workers", sa.Column("level", sa.SmallInteger))
    op.add_column("workers", sa.Column("level_since", sa.BigInteger))
    op.add_column("workers", sa.Column("level_at", sa.BigInteger))
    op.add_column("workers", sa.Column("readings", LongText))
    op.create_table(
        "samples",
        sa.Column("place", sa.String(128), primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("readings", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_index("samples_at", "samples", ["at"])
    op.create_table(
        "pressure_rules",
        sa.Column("name", Word, primary_key=True),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", Name, nullable=False),
        sa.Column("changes", LongText, nullable=False),
        **WITHOUT_ROWID,
    )


def downgrade() -> None:
    op.drop_table("pressure_rules")
    op.drop_table("samples")
    for column in ("readings", "level_at", "level_since", "level"):
        op.drop_column("workers", column)
