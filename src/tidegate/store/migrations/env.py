"""Run by Alembic for every upgrade and downgrade."""

from __future__ import annotations

from alembic import context

from tidegate.store.dialects import plain_engine
from tidegate.store.schema import metadata


def run() -> None:
    """All wanted revisions in one transaction, where the database can do that: MySQL commits after each change of a table,
    and then notes each revision by itself. SQLite cannot alter a column in place, hence the batch mode."""
    engine = plain_engine(context.config.attributes["url"])
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            transactional_ddl=engine.dialect.name in ("sqlite", "postgresql"),
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
