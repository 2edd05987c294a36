"""Revisions of tenants' schemas that only a test knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vca.tenancy import schema

_SQL = '''"""{name}."""

from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("""{body}""")
'''
_PYTHON = '''"""{name}."""

from alembic import op
from sqlalchemy import text

revision = "{number}"
down_revision = "{before}"
python = True


def upgrade() -> None:
    connection = op.get_bind()
{body}
'''
NICKNAMES = """
    ALTER TABLE phone_numbers ADD COLUMN nickname text;
    CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (nickname);
"""


class Tree:
    """A folder of further revisions; each that is added is the code's head from then on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders = schema.migration_folders()

    def sql(self, name: str, body: str) -> str:
        """A revision in SQL; its number."""
        return self._add(_SQL, name, body)

    def python(self, name: str, *lines: str) -> str:
        """A revision that moves data in Python, on `connection`; its number."""
        return self._add(_PYTHON, name, "\n".join(f"    {line}" for line in lines))

    def empty(self, name: str) -> str:
        """A revision that changes nothing that today's code would notice; its number."""
        return self.sql(name, f"CREATE TABLE {name} (id uuid CONSTRAINT {name}_pkey PRIMARY KEY)")

    def forget(self) -> None:
        """The code is again what it was."""
        schema.set_migration_folders(*self._folders)

    def _add(self, form: str, name: str, body: str) -> str:
        before = schema.head()
        number = f"{int(before) + 1:04}"
        written = form.format(name=name, number=number, before=before, body=body)
        (self.folder / f"{number}_{name}.py").write_text(written)
        schema.set_migration_folders(*self._folders, self.folder)
        return number


@contextmanager
def tree(folder: Path) -> Iterator[Tree]:
    """A tree that is forgotten at the end."""
    made = Tree(folder)
    try:
        yield made
    finally:
        made.forget()
