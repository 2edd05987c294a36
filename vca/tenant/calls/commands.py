"""`flask calls`: simulate, hang up, reconcile and replay calls."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args
from uuid import UUID

import click

from vca import cli
from vca.registry.tenants import service as tenants
from vca.services import Services, current_services
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session
from vca.tenant.calls import service
from vca.tenant.calls.carrier_webhooks import authentication
from vca.tenant.calls.control import call_control, reconciliation
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.simulations import TransferOutcome
from vca.tenant.calls.schemas import CallEventSchema, CallSchema, TurnSchema
from vca.tenant.calls.simulation import replay as replaying
from vca.tenant.calls.simulation import simulated_calls, terminal
from vca.tenant.calls.simulation.simulation_requests import SimulationRequest
from vca.tenant.calls.simulation_schemas import ReplayedSchema, SimulationSchema

calls = cli.Group("calls", help="Simulate, end, reconcile and replay calls.")


@calls.command("simulate", short_help="Call a number from this terminal.")
@click.argument("did", metavar="+E164")
@click.option("--from", "caller", help="The caller's number. Default: withheld.")
@click.option("--at", help="What the call's clock shows, for example 2026-12-24T20:00:00Z.")
@click.option(
    "--profile", "ai_profile_id", type=click.UUID, help="Let this AI profile of the tenant answer."
)
@click.option("--version", type=int, help="A version of that profile. Default: the current one.")
@click.option(
    "--variable", "variables", multiple=True, metavar="NAME=VALUE", help="Repeatable. For prompts."
)
@click.option(
    "--transfer-outcome",
    type=click.Choice(get_args(TransferOutcome)),
    help="How transfers end. Default: no_answer.",
)
@cli.as_json
def simulate(did: str, as_json: bool, **options: Any) -> None:
    """Call a number from this terminal, through the fake carrier.

    Type what the caller says. /press 1 sends a key. /hangup or Ctrl-D ends the call.

    The call runs the same code as a real one. It dials nobody. Its record is printed at the end.
    """
    services = current_services()
    tenant = _require_number_owner(did, services=services)
    reply = simulated_calls.start_simulation(
        tenant,
        carriers=services.carriers,
        services=services,
        request=_simulation_request(did, **options),
    )
    terminal.print_model_notice(services.models, quiet=as_json)
    ref = CallRef(tenant, reply.call_id)
    terminal.TerminalCall(ref, services.carriers, services, quiet=as_json).run(reply)
    call, events, turns = service.load_transcript(tenant, call_id=ref.call_id, services=services)
    call_record = {
        **CallSchema().dump(call),
        "events": CallEventSchema().dump(events, many=True),
        "turns": TurnSchema().dump(turns, many=True),
    }
    cli.print_result(call_record, as_json=as_json, text=terminal.format_call_record(call_record))


def _simulation_request(did: str, *, variables: Sequence[str], **options: Any) -> SimulationRequest:
    """Return the request of the options. They are validated as those of the API."""
    pairs = [variable.partition("=") for variable in variables]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("Specify a variable as NAME=VALUE.")
    body = {
        "to": did,
        "from": options.pop("caller"),
        "variables": {name: value for name, _, value in pairs},
        **options,
        "ai_profile_id": options["ai_profile_id"] and str(options["ai_profile_id"]),
    }
    return SimulationRequest(**cli.load_or_fail(SimulationSchema(), body))


@calls.command("hangup", short_help="Hang up live calls.")
@click.argument("tenant_id", type=click.UUID, metavar="[TENANT_ID", required=False)
@click.argument("call_id", type=click.UUID, metavar="CALL_ID]", required=False)
@click.option("--tenant", type=click.UUID, help="All live calls of this tenant.")
@click.option("--all", "everybody", is_flag=True, help="All live calls of the deployment.")
@cli.as_json
def hang_up(
    tenant_id: UUID | None,
    call_id: UUID | None,
    tenant: UUID | None,
    everybody: bool,
    as_json: bool,
) -> None:
    """Hang up one live call, all live calls of a tenant, or all of the deployment."""
    selections = (tenant_id is not None and call_id is not None, tenant is not None, everybody)
    if sum(selections) != 1 or (tenant_id is not None and call_id is None):
        raise click.UsageError("Specify TENANT_ID and CALL_ID, or --tenant ID, or --all.")
    if tenant_id is not None and call_id is not None:
        call = call_control.hang_up(
            _require_tenant(tenant_id, services=current_services()),
            call_id=call_id,
            services=current_services(),
        )
        text = f"{call.status}: {call.end_reason}"
        cli.print_result(CallSchema().dump(call), as_json=as_json, text=text)
        return
    refs = (
        [_require_tenant(tenant, services=current_services())]
        if tenant is not None
        else call_control.list_tenants_on_call(services=current_services())
    )
    summary = call_control.hang_up_all(refs, services=current_services())
    cli.print_result(
        vars(summary), as_json=as_json, text=f"{summary.ended} hung up, {summary.failed} failed"
    )
    if summary.failed:
        cli.fail("Some calls could not be hung up, because their carrier failed. Try again.")


@calls.command("reconcile", short_help="Ask carriers about live calls.")
@click.option("--tenant", type=click.UUID, help="Only this tenant's calls.")
@cli.as_json
def reconcile(tenant: UUID | None, as_json: bool) -> None:
    """Ask the carriers about all live calls now. Calls that they do not know end as lost."""
    tenants = (
        [_require_tenant(tenant, services=current_services())]
        if tenant is not None
        else call_control.list_tenants_on_call(services=current_services())
    )
    counts = Counter(
        reconciliation.check_call(ref, immediately=True, services=current_services())
        for tenant_ref in tenants
        for ref in call_control.list_live_calls(tenant_ref, services=current_services())
    )
    output = {name: counts[name] for name in ("live", "ended", "unknown")}
    cli.print_result(
        output, as_json=as_json, text=", ".join(f"{n} {name}" for name, n in output.items())
    )


@calls.command("replay", short_help="Replay a call with another AI profile.")
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@click.argument("call_id", type=click.UUID, metavar="CALL_ID")
@click.option(
    "--profile",
    "ai_profile_id",
    type=click.UUID,
    required=True,
    help="The AI profile that answers.",
)
@click.option("--version", type=int, help="A version of the profile. Default: the current one.")
@cli.as_json
def replay(
    tenant_id: UUID, call_id: UUID, ai_profile_id: UUID, version: int | None, as_json: bool
) -> None:
    """Repeat a finished call's utterances to another AI profile, and compare the replies.

    The replay is a simulated call, which is stored. It dials nobody and leaves no message.
    """
    comparison = replaying.replay_call(
        _require_tenant(tenant_id, services=current_services()),
        carriers=current_services().carriers,
        services=current_services(),
        call_id=call_id,
        ai_profile_id=ai_profile_id,
        version=version,
    )
    cli.print_result(
        ReplayedSchema().dump(comparison),
        as_json=as_json,
        text=terminal.format_comparison(comparison),
    )


def _require_tenant(tenant_id: UUID, *, services: Services) -> TenantRef:
    """Return the tenant if it exists and this code supports its schema; fail otherwise."""
    with public_session(database=services.database) as session:
        owner = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported_revision(owner.schema_revision)
    return TenantRef(tenant_id)


def _require_number_owner(number: str, *, services: Services) -> TenantRef:
    owner = authentication.find_number_owner(number, services=services)
    if owner is None:
        cli.fail(f"{number} belongs to no tenant. `flask dids list` lists all numbers.")
    schema.require_supported_revision(owner.schema_revision)
    return owner.tenant
