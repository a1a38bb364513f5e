"""What Alembic runs for each command: the connection comes from `pipeline.database`, in a lock."""

from alembic import context

from pipeline.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
