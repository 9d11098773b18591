"""Crashes, safe mode, and tasks in quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import OPTIONS, WITHOUT_ROWID, Id, LongText, Name, Word

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Servers of the version before know nothing of it, and start what they find."""
    op.create_table(
        "crashes",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("place", Name, nullable=False),
        sa.Column("part", Word, nullable=False),
        sa.Column("what", LongText, nullable=False),
        **OPTIONS,
    )
    op.create_index("crashes_at", "crashes", ["at"])
    op.create_table(
        "runs",
        sa.Column("place", Name, primary_key=True),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "safe_mode",
        sa.Column("name", Word, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("mode", Word, nullable=False),
        sa.Column("state", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "quarantine",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("released_by", Name),
        sa.Column("released_as", sa.BigInteger),
        **WITHOUT_ROWID,
    )


def downgrade() -> None:
    for table in ("quarantine", "safe_mode", "runs", "crashes"):
        op.drop_table(table)
