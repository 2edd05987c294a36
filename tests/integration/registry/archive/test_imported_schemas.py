"""JSON Schemas in an archive: those that could not be saved today are not imported."""

from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory
from tests.support.tenants_cli import TenantsCli
from vca.tenancy.schema import TenantRef


def test_an_import_removes_schemas_that_could_not_be_saved(
    tenants_cli: TenantsCli, template_world: Factory, archive_path: Path
) -> None:
    tenant = template_world.tenant("Acme")
    usable = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}
    profile_id = tenant.profile(name="Changed", extract=usable)["id"]
    usable_id = tenant.profile(name="Usable", extract=usable)["id"]
    hostile_schema = '{"properties": {"a": {"$ref": "#/title"}}, "title": "text"}'
    template_world.sql(
        tenant, f"UPDATE ai_profiles SET extract = '{hostile_schema}' WHERE id = '{profile_id}'"
    )
    template_world.sql(
        tenant,
        "UPDATE ai_profile_versions SET profile = jsonb_set(profile, '{extract}',"
        f" '{hostile_schema}') WHERE ai_profile_id = '{profile_id}'",
    )
    tenants_cli.invoke_json("export", tenant.id, archive_path)
    tenants_cli.invoke_json("erase", tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    schema = TenantRef(UUID(imported["tenant_id"])).schema
    with admin_db.public_session() as session:
        profiles = session.execute(text(f'SELECT id, extract FROM "{schema}".ai_profiles')).all()
        versions = session.execute(
            text(
                "SELECT ai_profile_id, profile -> 'extract', profile ->> 'name' IS NOT NULL"
                f' FROM "{schema}".ai_profile_versions'
            )
        ).all()
    assert imported["unusable_schemas_removed"] == 2
    assert {str(row[0]): row[1] for row in profiles} == {profile_id: None, usable_id: usable}
    assert [(str(row[0]), row[1], row[2]) for row in versions if row[1] is None] == [
        (profile_id, None, True)
    ]
    assert [row[1] for row in versions if str(row[0]) == usable_id] == [usable]
