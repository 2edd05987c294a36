"""`flask calls`: a telephone in the terminal, hanging up, and asking carriers."""

from collections import Counter
from uuid import UUID

import click

from vca.kit import cli
from vca.registry.tenants import service as tenants
from vca.telephony import providers
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public
from vca.tenant.calls import control, desk, reconciling, service, signing, terminal
from vca.tenant.calls import replay as replaying
from vca.tenant.calls.schemas import CallEventSchema, CallSchema, ReplayedSchema, TurnSchema
from vca.tenant.calls.telephone import Telephone

calls = cli.Group("calls", help="Calls: simulate one, end some, ask their carriers.")


@calls.command("simulate")
@click.argument("did", metavar="+E164")
@click.option("--from", "caller", help="The caller's number; left out, it is withheld.")
@cli.as_json
def simulate(did: str, caller: str | None, as_json: bool) -> None:
    """Call a number from this terminal. Type what you say; /hangup or Ctrl-D ends the call.

    /press 1 presses a key.

    Goes through the fake carrier and the same code as a real call, and shows the record at the end.
    """
    telephone = Telephone(providers.current().simulator, desk.current())
    tenant = _tenant_of(did)
    heard = telephone.ring(to=did, caller=caller)
    if not heard.open:
        terminal.words(heard, quiet=as_json)
        cli.fail(f"{did} was not answered by an agent: {_reason(tenant, did)}")
    ref = telephone.call(heard)
    terminal.talk(telephone, ref, heard, quiet=as_json)
    call, events, turns = service.transcript(tenant, call_id=ref.call_id)
    record = {
        **CallSchema().dump(call),
        "events": CallEventSchema().dump(events, many=True),
        "turns": TurnSchema().dump(turns, many=True),
    }
    cli.emit(record, as_json=as_json, text=terminal.record(record))


@calls.command("hangup")
@click.argument("tenant_id", type=click.UUID, metavar="[TENANT_ID", required=False)
@click.argument("call_id", type=click.UUID, metavar="CALL_ID]", required=False)
@click.option("--tenant", type=click.UUID, help="Every live call of this tenant.")
@click.option("--all", "everybody", is_flag=True, help="Every live call of the deployment.")
@cli.as_json
def hang_up(
    tenant_id: UUID | None,
    call_id: UUID | None,
    tenant: UUID | None,
    everybody: bool,
    as_json: bool,
) -> None:
    """Hang up one live call, a tenant's, or all there are."""
    ways = (tenant_id is not None and call_id is not None, tenant is not None, everybody)
    if sum(ways) != 1 or (tenant_id is not None and call_id is None):
        raise click.UsageError("Name a tenant and a call, or --tenant ID, or --all.")
    if tenant_id is not None and call_id is not None:
        call = control.hang_up(_tenant(tenant_id), call_id=call_id)
        text = f"{call.status}: {call.end_reason}"
        cli.emit(CallSchema().dump(call), as_json=as_json, text=text)
        return
    refs = [_tenant(tenant)] if tenant is not None else control.tenants_on_call()
    done = control.hang_up_all(refs)
    cli.emit(vars(done), as_json=as_json, text=f"{done.ended} hung up, {done.failed} not")
    if done.failed:
        cli.fail("Some calls go on: their carrier did not answer. Try again.")


@calls.command("reconcile")
@click.option("--tenant", type=click.UUID, help="Only this tenant's calls.")
@cli.as_json
def reconcile(tenant: UUID | None, as_json: bool) -> None:
    """Ask the carriers about every live call now; one that they do not know has ended."""
    tenants = [_tenant(tenant)] if tenant is not None else control.tenants_on_call()
    found = Counter(
        reconciling.check(ref, at_once=True) for each in tenants for ref in control.live_calls(each)
    )
    told = {name: found[name] for name in ("live", "ended", "unknown")}
    cli.emit(told, as_json=as_json, text=", ".join(f"{n} {name}" for name, n in told.items()))


@calls.command("replay")
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@click.argument("call_id", type=click.UUID, metavar="CALL_ID")
@click.option("--profile", "ai_profile_id", type=click.UUID, required=True, help="Who answers now.")
@click.option("--version", type=int, help="One of its versions; left out, the present one.")
@cli.as_json
def replay(
    tenant_id: UUID, call_id: UUID, ai_profile_id: UUID, version: int | None, as_json: bool
) -> None:
    """Say what the caller of a finished call said to another profile, and compare.

    A simulated call, which is kept; it dials nobody and leaves no message.
    """
    told = replaying.replay(
        _tenant(tenant_id),
        carriers=providers.current(),
        desk=desk.current(),
        call_id=call_id,
        ai_profile_id=ai_profile_id,
        version=version,
    )
    cli.emit(ReplayedSchema().dump(told), as_json=as_json, text=terminal.comparison(told))


def _tenant(tenant_id: UUID) -> TenantRef:
    """A tenant that is there and that this code can serve."""
    with public() as session:
        owner = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported(owner.schema_revision)
    return TenantRef(tenant_id)


def _tenant_of(number: str) -> TenantRef:
    owner = signing.find_owner(number)
    if owner is None:
        cli.fail(f"{number} is no tenant's number. `flask dids list` shows those there are.")
    schema.require_supported(owner.schema_revision)
    return owner.tenant


def _reason(tenant: TenantRef, number: str) -> str:
    route = service.explain_now(tenant, to=number)
    return f"{route.steps[-1].why} ({route.end_reason})"
