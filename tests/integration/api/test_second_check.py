"""A key is checked again before its request is executed, if it was checked some time ago."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.support import admin_db
from tests.support.factories import Tenant
from vca.api import guards
from vca.kit.db import Database


def test_a_key_that_is_revoked_while_its_request_waits_for_a_connection_is_refused(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, connection_count = 0.0, 0
    connect = Database.connection

    @contextmanager
    def connect_late(database: Database, **options: Any) -> Iterator[Connection]:
        nonlocal now_s, connection_count
        connection_count += 1
        if connection_count == 2:  # the first one was for the first check
            _revoke_keys(acme)
            now_s += guards.CHECK_AGAIN_AFTER_S * 2
        with connect(database, **options) as connection:
            yield connection

    monkeypatch.setattr(guards, "monotonic", lambda: now_s)
    monkeypatch.setattr(Database, "connection", connect_late)

    response = acme.post("/ai-profiles", {"system_prompt": "Hi."})

    assert (response.status_code, response.json["code"]) == (401, "unauthorized")


def _revoke_keys(tenant: Tenant) -> None:
    statement = text("UPDATE api_keys SET revoked_at = now() WHERE tenant_id = :id")
    with admin_db.public_session() as session:
        session.execute(statement, {"id": tenant.id})
