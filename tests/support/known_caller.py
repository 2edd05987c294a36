"""One caller whose number, name and words lie in every place where the product keeps something."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.doubles.models import Rehearsed
from tests.flows.conftest import RealCarrier, use
from tests.support import owner
from tests.support.carrier_line import CarrierLine
from tests.support.evidence import Evidence
from tests.support.world import Tenant, World, fresh_number
from vca.conversation.llm import ToolCall
from vca.kit import json, storage
from vca.kit.storage.folder import FolderStore

NIGHT = {"weekly": {}, "closed_action": "voicemail"}
EXTRACT = {"type": "object", "properties": {"name": {"type": "string"}}}


@dataclass(frozen=True)
class Canary:
    """What nobody else in the database has: a number, a name, and something that was said."""

    number: str
    name: str
    word: str

    @property
    def spellings(self) -> tuple[str, ...]:
        """What a dump must not hold."""
        national = self.number[3:]
        return (
            self.number[1:],
            national,
            self.name,
            self.word,
            f"{national[:2]} {national[2:6]} {national[6:]}",
            self.word.encode().hex(),
            self.number.encode().hex(),
        )

    def found_in(self, texts: Any) -> list[str]:
        return [text for text in texts if any(spelt in text for spelt in self.spellings)]

    @property
    def spoken(self) -> str:
        national = self.number[3:]
        return f"0{national[:2]} {national[2:6]} {national[6:]}"


def canary() -> Canary:
    unique = uuid4().hex[:12]
    return Canary(fresh_number(), f"Jane{unique}", f"root-canal-{unique}")


def note(tool: str, **arguments: Any) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments).decode())


NOTED = [note("note_call", summary="A call.", outcome="resolved", data={})]


def premises(tenant: Tenant) -> tuple[str, str]:
    """(a number that an agent answers, one that takes voicemail)."""
    tenant.patch("/settings", {"home_country": "GB"})
    tenant.profile(
        greeting="Hello.",
        tools=["take_message", "transfer"],
        extract=EXTRACT,
        recording=True,
        transfer_targets={"desk": {"number": fresh_number()}},
    )
    by_day, by_night = tenant.number(), tenant.number(hours=NIGHT)
    return by_day["did_number"], by_night["did_number"]


def calls(
    world: World,
    tenant: Tenant,
    line: CarrierLine,
    carrier: RealCarrier,
    who: Canary,
    numbers: tuple[str, str],
) -> None:
    """Everything that a caller can leave behind, left by the product itself."""
    by_day, by_night = numbers
    name = f"{tenant.id[:8]}-{uuid4().hex[:6]}"
    _talks(world, tenant, line, carrier, who, by_day, f"{name}-talk")
    _leaves_a_voicemail(world, tenant, line, carrier, who, by_night, f"{name}-night")
    _is_called(world, tenant, line, who, by_day)
    _is_mentioned(world, tenant, line, who, by_day, f"{name}-other")


def _talks(
    world: World,
    tenant: Tenant,
    line: CarrierLine,
    carrier: RealCarrier,
    who: Canary,
    to: str,
    call: str,
) -> None:
    message = {"name": who.name, "number": who.spoken, "reason": f"{who.word} hurts"}
    summary = f"{who.name} ({who.spoken}) wants a {who.word}."
    noted = {"summary": summary, "outcome": "resolved", "data": {"name": who.name}}
    use(
        Rehearsed(
            [f"You are {who.name} at {who.number}.", note("take_message", **message)],
            ["I connect you.", note("transfer", target="desk")],
            [note("note_call", **noted)],
        )
    )
    state = line.ring(to, call, who.number)["state"]
    state = line.say(call, state, f"I am {who.name}, {who.word} please")["state"]
    state = line.say(call, state, f"call me at {who.spoken}")["state"]
    line.tell("leg", call, state, outcome="answered")
    carrier.add_recording(call, who.word.encode() * 50)
    line.status(call, "completed", state=state, code=f"to {who.number}")
    world.work(tenant)


def _leaves_a_voicemail(
    world: World,
    tenant: Tenant,
    line: CarrierLine,
    carrier: RealCarrier,
    who: Canary,
    to: str,
    call: str,
) -> None:
    state = line.ring(to, call, who.number)["state"]
    carrier.add_recording(call, who.word.encode() * 60, provider_recording_id=f"RE-{call}")
    line.tell("voicemail", call, state, recording_id=f"RE-{call}")
    world.work(tenant)


def _is_called(
    world: World, tenant: Tenant, line: CarrierLine, who: Canary, from_number: str
) -> None:
    [number] = [it for it in tenant.get("/phone-numbers").json if it["did_number"] == from_number]
    order = {
        "to": who.number,
        "from_phone_number_id": number["id"],
        "metadata": {"name": who.name, "about": who.word, "phone": who.number[1:]},
    }
    key = {"Idempotency-Key": f"call {who.number} {uuid4()}"}
    ordered = tenant.post("/calls", order, headers=key)
    assert ordered.status_code == 202, ordered.text
    world.work(tenant)
    placed = tenant.get("/calls", direction="outbound").json[0]
    line.status(placed["provider_call_id"], "completed", to=from_number)
    tenant.post(f"/calls/{placed['id']}/hangup")
    world.work(tenant)


def _is_mentioned(
    world: World, tenant: Tenant, line: CarrierLine, who: Canary, to: str, call: str
) -> None:
    use(Rehearsed([f"I will tell {who.number}."], NOTED))
    state = line.ring(to, call, fresh_number())["state"]
    line.say(call, state, f"Tell my wife at {who.spoken} or {who.number[1:]}, please.")
    line.status(call, "completed", state=state)
    world.work(tenant)


def jobs_naming(tenant: Tenant, who: Canary) -> None:
    """A job that is over, and one that waits."""
    statement = (
        "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, status, args, scheduled_at)"
        " SELECT 'default', 'webhooks.tell', s::jobs.procrastinate_job_status,"
        " jsonb_build_object('tenant_id', %(id)s::text, 'type', 'message.taken', 'event_id',"
        " gen_random_uuid(), 'at', now(), 'data',"
        " jsonb_build_object('told', %(number)s::text, 'count', %(digits)s::bigint)),"
        " now() + interval '1 hour'"
        " FROM unnest(ARRAY['failed', 'todo']) s"
    )
    values = {"id": tenant.id, "number": who.number, "digits": who.number[1:]}
    with owner.public() as session:
        session.connection().exec_driver_sql(statement, values)


def dump(witness: Evidence, tenant: Tenant) -> list[str]:
    """Every row of the tenant's schema, of public and of the queue, as text."""
    schemas = (tenant.ref.schema, "public", "jobs")
    tables = witness.rows(
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = ANY (%s) AND relkind IN ('r', 'p')",
        list(schemas),
    )
    rows = (witness.rows(f"SELECT '{name} ' || t::text FROM {name} t") for (name,) in tables)
    return [row for (row,) in chain.from_iterable(rows)]


def kept_files() -> list[Path]:
    """Every file of the store."""
    store = storage.current_store()
    assert isinstance(store, FolderStore)
    return [path for path in store._root.rglob("*") if path.is_file()]
