"""`flask db`: the embedded server and the public schema."""

import click
from sqlalchemy import text

from vca import cli
from vca.registry import deployment, owner_connections, preflight, privileges, schema
from vca.registry.deployment import Deployment
from vca.services import current_services
from vca.tenancy.session import public_session

db_commands = cli.Group(
    "db",
    help="Manage the database and the public schema.",
    lazy={name: f"vca.devtools.database_commands:{name}" for name in ("start", "stop", "status")},
)


@db_commands.command("upgrade")
@cli.as_json
def upgrade(as_json: bool) -> None:
    """Migrate the public schema.

    Also installs the compiled schema for new tenants, and the grants of the logins.
    """
    with owner_connections.owner_database() as database:
        before, after = schema.upgrade_public_schema(database, _configured_deployment())
    text = f"public: {before or 'empty'} → {after}" if before != after else f"public: {after}"
    cli.print_result({"before": before, "after": after}, as_json=as_json, text=text)


@db_commands.command("roles")
@click.option("--apply", "do", is_flag=True, help="Apply the grants and create missing roles.")
@cli.as_json
def roles(do: bool, as_json: bool) -> None:
    """Print or apply the grants of the logins.

    Without --apply the command prints the grants of the web's and the worker's logins, and the
    number of tenants without a database role. With --apply it executes them as the owner's login,
    and creates the missing roles.
    """
    login_roles = _configured_deployment().roles
    with owner_connections.owner_database() as database:
        with public_session(database=database) as session:
            name = str(session.scalar(text("SELECT current_database()")))
        grants = privileges.grant_statements(name, login_roles)
        missing = privileges.tenants_without_role(database, login_roles)
        if do:
            with public_session(database=database) as session:
                deployment.record_deployment(session, _configured_deployment())
                privileges.apply_grants(session, login_roles)
            restored = privileges.restore_roles(database, login_roles)
        else:
            restored = []
    facts = {
        "statements": grants,
        "applied": do,
        "roles_missing": [str(tenant_id) for tenant_id in missing],
        "roles_restored": [str(tenant_id) for tenant_id in restored],
    }
    lines = [f"{statement};" for statement in grants]
    if do:
        lines = [f"{len(grants)} grants applied, {len(restored)} roles restored."]
    elif missing:
        lines.append(f"-- {len(missing)} tenants have no role: --apply creates them")
    cli.print_result(facts, as_json=as_json, text="\n".join(lines))


@db_commands.command("check")
@cli.as_json
def check(as_json: bool) -> None:
    """Check that the server meets the requirements.

    Each check runs with the login that needs it. The exit status is 1 if a check failed.
    """
    results = [finding.as_dict() for finding in preflight.run_checks(current_services().settings)]
    table = cli.format_table(results, ("verdict", "what", "tenants", "detail"))
    cli.print_result(results, as_json=as_json, text=table)
    if any(finding["verdict"] == "failed" for finding in results):
        raise SystemExit(1)


@db_commands.command("adopt")
@cli.as_json
def adopt(as_json: bool) -> None:
    """Adopt a restored copy of a database.

    The copy of another deployment's database becomes this deployment's own. Before that, its worker
    refuses to start: it would place calls, register numbers and answer as the original.
    """
    this_deployment = _configured_deployment()
    with (
        owner_connections.owner_database() as database,
        public_session(database=database) as session,
    ):
        recorded = deployment.find_recorded(session)
        differences = recorded.differences(this_deployment) if recorded is not None else []
        deployment.record_deployment(session, this_deployment)
        deployment.adopt_database(session, this_deployment)
    message = (
        "\n".join([*differences, "Adopted."])
        if differences
        else "The database already belongs to this deployment."
    )
    cli.print_result(
        {"adopted": bool(differences), "differences": differences}, as_json=as_json, text=message
    )


def _configured_deployment() -> Deployment:
    return deployment.from_settings(current_services().settings)
