"""API keys, the audit trail, shared sources. Servers of earlier tables go on working with these."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import OPTIONS, WITHOUT_ROWID, Id, LongText, Name, Word

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the new tables and columns."""
    op.create_table(
        "api_keys",
        sa.Column("id", Word, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("role", Word, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Name, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revoked_by", Name),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "audit",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("role", Word, nullable=False),
        sa.Column("key_id", Word),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("object", Name, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("address", sa.String(64)),
        sa.Column("detail", LongText, nullable=False),
        **OPTIONS,
    )
    op.create_index(
        "jobs_owner",
        "jobs",
        ["owner", "id"],
        sqlite_where=sa.text("owner <> 'local'"),
        postgresql_where=sa.text("owner <> 'local'"),
    )
    op.add_column("sources", sa.Column("shared_key", Name))
    op.create_index("sources_shared", "sources", ["shared_key"], unique=True)
    op.add_column("workers", sa.Column("stats", LongText))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("workers", "stats")
    op.drop_index("sources_shared", "sources")
    op.drop_column("sources", "shared_key")
    op.drop_index("jobs_owner", "jobs")
    op.drop_table("audit")
    op.drop_table("api_keys")
