"""What somebody did is found without reading what all did."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows of the trail are never changed, so servers of the version before notice nothing."""
    op.create_index("audit_actor", "audit", ["actor", "id"])


def downgrade() -> None:
    op.drop_index("audit_actor", "audit")
