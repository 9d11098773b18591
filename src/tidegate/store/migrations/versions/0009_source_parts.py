"""The files of sources that grow by loads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import LongText

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sources that are there already have no parts. Servers of the version before see the first part of new ones."""
    op.add_column("sources", sa.Column("parts", LongText))


def downgrade() -> None:
    op.drop_column("sources", "parts")
