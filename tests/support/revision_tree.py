"""Add revisions of the public schema or of tenants' schemas that only a test knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vca.tenancy import schema

_SQL_TEMPLATE = '''"""{name}."""

from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("""{body}""")
'''
_PYTHON_TEMPLATE = '''"""{name}."""

from alembic import op
from sqlalchemy import text

revision = "{number}"
down_revision = "{before}"
python = True


def upgrade() -> None:
    connection = op.get_bind()
{body}
'''
NICKNAMES_SQL = """
    ALTER TABLE phone_numbers ADD COLUMN nickname text;
    CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (nickname);
"""


class RevisionTree:
    """A folder of additional revisions. Each revision that is added becomes the head.

    `tree` is the module of the tree: `vca.tenancy.schema` or `vca.registry.schema`.
    """

    def __init__(self, folder: Path, tree: ModuleType = schema) -> None:
        self.folder = folder
        self._tree = tree
        self._original_folders = tree.migration_folders()

    def add_sql(self, name: str, body: str) -> str:
        """Add a revision in SQL and return its number."""
        return self._add(_SQL_TEMPLATE, name, body)

    def add_python(self, name: str, *lines: str) -> str:
        """Add a revision in Python, which uses the variable `connection`; return its number."""
        return self._add(_PYTHON_TEMPLATE, name, "\n".join(f"    {line}" for line in lines))

    def add_empty(self, name: str) -> str:
        """Add a revision that changes nothing that the product uses; return its number."""
        return self.add_sql(
            name, f"CREATE TABLE {name} (id uuid CONSTRAINT {name}_pkey PRIMARY KEY)"
        )

    def restore(self) -> None:
        """Forget the added revisions."""
        self._tree.set_migration_folders(*self._original_folders)

    def _add(self, template: str, name: str, body: str) -> str:
        head = self._tree.head()
        number = f"{int(head) + 1:04}"
        source = template.format(name=name, number=number, before=head, body=body)
        (self.folder / f"{number}_{name}.py").write_text(source)
        self._tree.set_migration_folders(*self._original_folders, self.folder)
        return number


@contextmanager
def open_revision_tree(folder: Path, tree: ModuleType = schema) -> Iterator[RevisionTree]:
    """Yield a tree and forget its revisions at the end."""
    new_tree = RevisionTree(folder, tree)
    try:
        yield new_tree
    finally:
        new_tree.restore()
