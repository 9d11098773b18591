"""The folders by which a source was allowed when it was registered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import LongText

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sources that are there already have none: they go on by the setting alone."""
    op.add_column("sources", sa.Column("roots", LongText))


def downgrade() -> None:
    op.drop_column("sources", "roots")
