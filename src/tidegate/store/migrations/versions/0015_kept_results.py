"""Results that are kept to be those of later tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import WITHOUT_ROWID, LongText, Name

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Servers of the version before neither keep results nor use those that are kept."""
    op.create_table(
        "kept_results",
        sa.Column("owner", Name, primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.Column("result", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_index("kept_results_used", "kept_results", ["used_at", "size_bytes"])


def downgrade() -> None:
    op.drop_table("kept_results")
