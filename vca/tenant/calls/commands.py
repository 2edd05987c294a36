"""`flask calls`: a telephone in the terminal, hanging up, and asking carriers."""

import sys
from collections import Counter
from uuid import UUID

import click

from vca.kit import cli, json
from vca.telephony import providers
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenant.calls import control, desk, inbound, reconciling, service
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.schemas import CallEventSchema, CallSchema, TurnSchema
from vca.tenant.calls.telephone import Heard, Telephone

calls = cli.Group("calls", help="Calls: simulate one, end some, ask their carriers.")


@calls.command("simulate")
@click.argument("did", metavar="+E164")
@click.option("--from", "caller", help="The caller's number; left out, it is withheld.")
@cli.as_json
def simulate(did: str, caller: str | None, as_json: bool) -> None:
    """Call a number from this terminal. Type what you say; /hangup or Ctrl-D ends the call.

    Goes through the fake carrier and the same code as a real call, and shows the record at the end.
    """
    telephone = Telephone(providers.current().simulator, desk.current())
    tenant = _tenant_of(did)
    heard = telephone.ring(to=did, caller=caller)
    if not heard.open:
        _show_words(heard, quiet=as_json)
        cli.fail(f"{did} was not answered by an agent: {_reason(tenant, did)}")
    ref = telephone.call(heard)
    _talk(telephone, ref, heard, quiet=as_json)
    call, events, turns = service.transcript(tenant, call_id=ref.call_id)
    record = {
        **CallSchema().dump(call),
        "events": CallEventSchema().dump(events, many=True),
        "turns": TurnSchema().dump(turns, many=True),
    }
    cli.emit(record, as_json=as_json, text=_record(record))


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
    carriers = providers.current()
    ways = (tenant_id is not None and call_id is not None, tenant is not None, everybody)
    if sum(ways) != 1 or (tenant_id is not None and call_id is None):
        raise click.UsageError("Name a tenant and a call, or --tenant ID, or --all.")
    if tenant_id is not None and call_id is not None:
        call = control.hang_up(TenantRef(tenant_id), carriers=carriers, call_id=call_id)
        text = f"{call.status}: {call.end_reason}"
        cli.emit(CallSchema().dump(call), as_json=as_json, text=text)
        return
    refs = [TenantRef(tenant)] if tenant is not None else control.tenants_on_call()
    done = control.hang_up_all(refs, carriers=carriers)
    cli.emit(vars(done), as_json=as_json, text=f"{done.ended} hung up, {done.failed} not")
    if done.failed:
        cli.fail("Some calls go on: their carrier did not answer. Try again.")


@calls.command("reconcile")
@click.option("--tenant", type=click.UUID, help="Only this tenant's calls.")
@cli.as_json
def reconcile(tenant: UUID | None, as_json: bool) -> None:
    """Ask the carriers about every live call now; one that they do not know has ended."""
    tenants = [TenantRef(tenant)] if tenant is not None else control.tenants_on_call()
    found = Counter(
        reconciling.check(ref, at_once=True) for each in tenants for ref in control.live_calls(each)
    )
    told = {name: found[name] for name in ("live", "ended", "unknown")}
    cli.emit(told, as_json=as_json, text=", ".join(f"{n} {name}" for name, n in told.items()))


def _talk(telephone: Telephone, ref: CallRef, heard: Heard, *, quiet: bool) -> None:
    """The conversation, line by line, until one side hangs up."""
    interactive = sys.stdin.isatty() and not quiet
    if interactive:
        click.secho("(type what you say; /hangup or Ctrl-D ends the call)", dim=True)
    while True:
        _show_words(heard, quiet=quiet)
        if not heard.open:
            return
        line = _line(interactive)
        if line is None or line.strip() == "/hangup":
            telephone.hang_up(ref)
            return
        heard = telephone.say(ref, line[:2_000])


def _line(interactive: bool) -> str | None:
    """One typed line; None at the end of input or on Ctrl-C."""
    if interactive:
        click.secho("you    ", fg="cyan", nl=False)
    try:
        typed = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo()
        return None
    if not typed and interactive:
        click.echo()
    return typed.rstrip("\n") if typed else None


def _show_words(heard: Heard, *, quiet: bool) -> None:
    if heard.text and not quiet:
        click.echo(click.style("agent  ", fg="green") + heard.text)


def _tenant_of(number: str) -> TenantRef:
    owner = inbound.find_owner(number)
    if owner is None:
        cli.fail(f"{number} is no tenant's number. `flask dids list` shows those there are.")
    schema.require_supported(owner.schema_revision)
    return owner.tenant


def _reason(tenant: TenantRef, number: str) -> str:
    route = service.explain_now(tenant, to=number)
    return f"{route.steps[-1].why} ({route.end_reason})"


def _record(record: dict[str, object]) -> str:
    """The call's record for people: how it was routed, what happened, how long it took."""
    lines = ["", click.style("The record of this call", bold=True)]
    shown = ("id", "status", "end_reason", "caller_id", "caller_number", "called_number")
    figures = ("ai_profile_id", "ai_profile_version", "started_at", "ended_at", "duration_seconds")
    lines.append(cli.card({name: record[name] for name in (*shown, *figures)}))
    route = json.loads(json.dumps(record["route"]))
    lines += ["", "route"]
    lines += [f"  {rule['rule']:8} {rule['verdict']:8} {rule['why']}" for rule in route["rules"]]
    events = json.loads(json.dumps(record["events"]))
    lines += ["", "events"]
    lines += [f"  {event['timestamp'][11:23]} {event['event_type']}" for event in events]
    turns = json.loads(json.dumps(record["turns"]))
    lines += ["", f"turns ({len(turns)})"]
    lines += [f"  {turn['sequence']:3} {turn['speaker']:7} {turn['text']}" for turn in turns]
    return "\n".join(lines)
