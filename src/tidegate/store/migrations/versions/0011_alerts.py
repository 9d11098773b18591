"""Alerts, their messages, silences, changed rules, and how channels do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import OPTIONS, WITHOUT_ROWID, Id, LongText, Name, Real, Word

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only new tables; servers of the version before know none of them."""
    op.create_table(
        "alerts",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("rule", Name, nullable=False),
        sa.Column("subject", Name, nullable=False),
        sa.Column("open_key", Name),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("value", Real),
        sa.Column("raised_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("acknowledged_by", Name),
        sa.Column("told_level", sa.SmallInteger, nullable=False),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("told_count", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("message", LongText, nullable=False),
        sa.Column("moments", LongText, nullable=False),
        **OPTIONS,
    )
    op.create_index("alerts_open", "alerts", ["open_key"], unique=True)
    op.create_table(
        "alert_notices",
        sa.Column("alert_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("channel", Name, primary_key=True),
        sa.Column("what", Word, nullable=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", Word, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("value", Real),
        sa.Column("text", LongText, nullable=False),
        sa.Column("error", LongText),
        **WITHOUT_ROWID,
    )
    op.create_index("alert_notices_due", "alert_notices", ["channel", "due_at"])
    op.create_table(
        "alert_silences",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("rule", Name),
        sa.Column("subject", Name),
        sa.Column("created_by", Name, nullable=False),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("reason", LongText, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "alert_rules",
        sa.Column("rule", Name, primary_key=True),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", Name, nullable=False),
        sa.Column("changes", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "alert_channels",
        sa.Column("name", Name, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("worked_at", sa.BigInteger),
        sa.Column("failed_at", sa.BigInteger),
        sa.Column("error", LongText),
        **WITHOUT_ROWID,
    )


def downgrade() -> None:
    """Remove them, and with them the history of alerts."""
    for name in ("alert_channels", "alert_rules", "alert_silences", "alert_notices", "alerts"):
        op.drop_table(name)
