"""`flask dids`: the number registry of all tenants."""

from typing import Any
from uuid import UUID

import click

from vca import cli
from vca.registry.number_registry import service
from vca.registry.number_registry.models import STATES
from vca.registry.number_registry.schemas import DidSchema
from vca.services import current_services
from vca.tenancy.session import public_session

dids = cli.Group("dids", help="Manage the number registry of all tenants.")

_LIST_COLUMNS = ("did_number", "state", "tenant_id", "registration_status", "rests_until")
_NUMBER = click.argument("number", metavar="+E164")


@dids.command("list")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only numbers of this tenant.")
@click.option("--state", type=click.Choice(STATES))
@cli.as_json
def list_(as_json: bool, **filters: Any) -> None:
    """List the numbers in the registry."""
    active_filters = {name: value for name, value in filters.items() if value}
    with public_session(database=current_services().database) as session:
        entries = cli.iterate_items(
            lambda page: service.list_page(session, page=page, **active_filters)
        )
        rows = DidSchema().dump(entries, many=True)
    cli.print_result(rows, as_json=as_json, text=cli.format_table(rows, _LIST_COLUMNS))


@dids.command("find")
@_NUMBER
@cli.as_json
def find(number: str, as_json: bool) -> None:
    """Show a number and its tenant."""
    with public_session(database=current_services().database) as session:
        entry = DidSchema().dump(service.get(session, number=number))
    cli.print_result(entry, as_json=as_json, text=cli.format_record(entry))


@dids.command("assign")
@_NUMBER
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@cli.as_json
def assign(number: str, tenant_id: UUID, as_json: bool) -> None:
    """Assign a number to a tenant.

    Only this tenant can then claim it.
    """
    fields = cli.load_or_fail(DidSchema(), {"did_number": number, "tenant_id": str(tenant_id)})
    with public_session(database=current_services().database) as session:
        did = service.assign(session, number=fields["did_number"], tenant_id=tenant_id)
        session.refresh(did)
        entry = DidSchema().dump(did)
    cli.print_result(entry, as_json=as_json, text=cli.format_record(entry))


@dids.command("release")
@_NUMBER
@cli.as_json
def release(number: str, as_json: bool) -> None:
    """Release an assigned or quarantined number.

    A claimed number stays as it is: delete the tenant's phone number first.
    """
    with public_session(database=current_services().database) as session:
        service.unassign(session, number=number)
    cli.print_result({"released": number}, as_json=as_json, text=f"{number} was released.")


@dids.command("misses")
@cli.as_json
def misses(as_json: bool) -> None:
    """List called numbers that no tenant has.

    The latest calls come first.
    """
    columns = ("did_number", "misses", "first_missed_at", "last_missed_at")
    with public_session(database=current_services().database) as session:
        rows = [
            {name: getattr(miss, name) for name in columns}
            for miss in service.list_unrouted_numbers(session)
        ]
    cli.print_result(rows, as_json=as_json, text=cli.format_table(rows, columns))
