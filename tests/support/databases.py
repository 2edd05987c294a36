"""The test server, the migrated template, and a clone of it for each test process."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from vca.kit import embedded
from vca.kit.db import Database
from vca.registry import schema

_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    """A Postgres server on which the suite may make and drop databases named vca_test_…"""

    url: str
    embedded_folder: Path | None = None
    started_here: bool = False

    def stop(self) -> None:
        """End it if the suite began it."""
        if self.embedded_folder is not None and self.started_here:
            embedded.stop(self.embedded_folder)

    def named(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def clone(self, name: str) -> str:
        """A fresh copy of the template under `name`; its URL."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template_name()}"')
        return self.named(name)

    def empty(self, name: str) -> str:
        """A fresh, unmigrated database under `name`; its URL."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{name}"')
        return self.named(name)

    def drop(self, name: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def make_template(self) -> None:
        if self._exists(template_name()):
            return
        making = f"{template_name()}_making"
        self._run(f'DROP DATABASE IF EXISTS "{making}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{making}"')
        database = Database(self.named(making))
        schema.upgrade(database)
        database.close()
        self._run(f'ALTER DATABASE "{making}" RENAME TO "{template_name()}"')

    def _exists(self, name: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def _run(self, statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


SERVER = pytest.StashKey[Server]()


def start(folder: Path) -> Server:
    """TEST_DATABASE_URL's server, else the embedded one; with the template migrated."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        server = Server(url)
    else:
        started = embedded.start(folder)
        server = Server(started.server.migration_url, folder, started.by_this_call)
    server.make_template()
    return server


def template_name() -> str:
    """Named after what is in it, so that a change of any migration makes a new one."""
    digest = hashlib.sha256()
    for tree in ("migrations", "tenant_migrations"):
        for path in sorted((_ROOT / tree).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update((_ROOT / "vca/tenancy/schema.py").read_bytes())
    return f"vca_test_template_{digest.hexdigest()[:12]}"
