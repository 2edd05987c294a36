"""Fixtures of the tables that are generated from the OpenAPI document."""

from tests.integration.api.conftest import (
    _database_templates,
    _snapshot_statements,
    _two_populated_tenants,
    _use_populated_database,
    all_operations,
    carrier,
    carrier_client,
    db_snapshot,
    openapi,
    populated_acme,
    populated_globex,
)

__all__ = [
    "_database_templates",
    "_snapshot_statements",
    "_two_populated_tenants",
    "_use_populated_database",
    "all_operations",
    "carrier",
    "carrier_client",
    "db_snapshot",
    "openapi",
    "populated_acme",
    "populated_globex",
]
