"""Run `flask tenants` commands to export and import tenants, and manipulate archives."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result
from flask import Flask

from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.services import app_services
from vca.kit import json

Members = dict[str, bytes]


@dataclass
class TenantsCli:
    """Runs `flask tenants …`."""

    app: Flask

    def invoke(self, *arguments: object) -> Result:
        return self.app.test_cli_runner().invoke(args=["tenants", *map(str, arguments)])

    def invoke_json(self, *arguments: object) -> Any:
        result = self.invoke(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def invoke_failing(self, *arguments: object) -> str:
        """Run a command that must exit with status 1, and return its output."""
        result = self.invoke(*arguments)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.output

    def doctor_findings(self, *arguments: object) -> tuple[int, dict[tuple[str, str], str]]:
        """Return the exit status of `doctor`, and its findings by (kind, subject)."""
        result = self.invoke("doctor", "--json", *arguments)
        findings = json.loads(result.stdout)["findings"]
        return result.exit_code, {
            (finding["kind"], finding["subject"]): finding["detail"] for finding in findings
        }


def tenant_rows(db_snapshot: SnapshotChecker, tenant_id: str) -> dict[str, list[str]]:
    """Return every row of a tenant's schema as text, with a placeholder for the tenant's id.

    Encrypted columns are omitted: their encryption depends on the tenant's id, and it differs each
    time.
    """
    schema = schema_of(tenant_id)
    encrypted = ",".join(column for _, column in app_services().lifecycle_hooks.encrypted_columns)
    return {
        table: sorted(
            str(row[0]).replace(tenant_id, "<tenant>")
            for row in db_snapshot.rows(
                f"SELECT (to_jsonb(t) - '{{{encrypted}}}'::text[])::text"
                f' FROM "{schema}"."{table}" t'
            )
        )
        for table in db_snapshot.tables(tenant_id)
    }


def import_snapshot(db_snapshot: SnapshotChecker) -> dict[str, Any]:
    """Return what a failed import must not change."""
    return {
        "schemas": db_snapshot.rows(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"
        ),
        "jobs": db_snapshot.rows("SELECT count(*) FROM jobs.procrastinate_jobs"),
        **{
            table: db_snapshot.rows(
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
            )
            for table in ("public.tenants", "public.dids", "public.api_keys")
        },
    }


def rewrite_archive(source: Path, target: Path, change_members: Callable[[Members], None]) -> Path:
    """Write a copy of an archive with changed members. The zip file itself is valid."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change_members(members)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def read_manifest(members: Members) -> dict[str, Any]:
    """Return the manifest of an archive's members."""
    manifest: dict[str, Any] = json.loads(members["manifest.json"])
    return manifest


def restamp_manifest(members: Members, manifest: dict[str, Any]) -> None:
    """Update sizes and checksums in the manifest, as a forger would after changing members."""
    for member in manifest["members"]:
        content = members[member["name"]]
        member.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    members["manifest.json"] = json.dumps(manifest)
