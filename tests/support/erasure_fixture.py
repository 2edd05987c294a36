"""A caller whose number, name and words are stored in every place where the product stores any."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import RealCallerCarrier, use_model
from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.conversation.llm import ToolCall
from vca.kit import json
from vca.kit.storage.folder import FolderStore

ALWAYS_CLOSED_HOURS = {"weekly": {}, "closed_action": "voicemail"}
EXTRACT_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


@dataclass(frozen=True)
class ErasureSubject:
    """A number, a name and a phrase that occur nowhere else in the database."""

    number: str
    name: str
    phrase: str

    @property
    def spellings(self) -> tuple[str, ...]:
        """Return what a dump must not contain after an erasure."""
        national = self.number[3:]
        return (
            self.number[1:],
            national,
            self.name,
            self.phrase,
            f"{national[:2]} {national[2:6]} {national[6:]}",
            self.phrase.encode().hex(),
            self.number.encode().hex(),
        )

    def texts_naming(self, texts: Any) -> list[str]:
        return [text for text in texts if any(spelling in text for spelling in self.spellings)]

    @property
    def spoken_number(self) -> str:
        national = self.number[3:]
        return f"0{national[:2]} {national[2:6]} {national[6:]}"


def create_subject() -> ErasureSubject:
    unique = uuid4().hex[:12]
    return ErasureSubject(fresh_number(), f"Jane{unique}", f"root-canal-{unique}")


def tool_call(tool: str, **arguments: Any) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments).decode())


NOTE_CALL_STEPS = [tool_call("note_call", summary="A call.", outcome="resolved", data={})]


def create_numbers(tenant: Tenant) -> tuple[str, str]:
    """Return (a number that an agent answers, a number that takes voicemail)."""
    tenant.patch("/settings", {"home_country": "GB"})
    tenant.profile(
        greeting="Hello.",
        tools=["take_message", "transfer"],
        extract=EXTRACT_SCHEMA,
        recording=True,
        transfer_targets={"desk": {"number": fresh_number()}},
    )
    agent_number, voicemail_number = tenant.number(), tenant.number(hours=ALWAYS_CLOSED_HOURS)
    return agent_number["did_number"], voicemail_number["did_number"]


def create_subject_data(
    world: Factory,
    tenant: Tenant,
    carrier_client: CarrierClient,
    carrier: RealCallerCarrier,
    subject: ErasureSubject,
    numbers: tuple[str, str],
) -> None:
    """Create everything that a caller can leave behind, by making calls."""
    agent_number, voicemail_number = numbers
    name = f"{tenant.id[:8]}-{uuid4().hex[:6]}"
    _hold_conversation(
        world, tenant, carrier_client, carrier, subject, agent_number, f"{name}-talk"
    )
    _leave_voicemail(
        world, tenant, carrier_client, carrier, subject, voicemail_number, f"{name}-night"
    )
    _place_outbound_call(world, tenant, carrier_client, subject, agent_number)
    _mention_subject(world, tenant, carrier_client, subject, agent_number, f"{name}-other")


def _hold_conversation(
    world: Factory,
    tenant: Tenant,
    carrier_client: CarrierClient,
    carrier: RealCallerCarrier,
    subject: ErasureSubject,
    to: str,
    call: str,
) -> None:
    message_arguments = {
        "name": subject.name,
        "number": subject.spoken_number,
        "reason": f"{subject.phrase} hurts",
    }
    summary = f"{subject.name} ({subject.spoken_number}) wants a {subject.phrase}."
    note_arguments = {"summary": summary, "outcome": "resolved", "data": {"name": subject.name}}
    use_model(
        SequenceModel(
            [
                f"You are {subject.name} at {subject.number}.",
                tool_call("take_message", **message_arguments),
            ],
            ["I connect you.", tool_call("transfer", target="desk")],
            [tool_call("note_call", **note_arguments)],
        )
    )
    state = carrier_client.ring(to, call, subject.number)["state"]
    state = carrier_client.say(call, state, f"I am {subject.name}, {subject.phrase} please")[
        "state"
    ]
    state = carrier_client.say(call, state, f"call me at {subject.spoken_number}")["state"]
    carrier_client.send_event("leg", call, state, outcome="answered")
    carrier.add_recording(call, subject.phrase.encode() * 50)
    carrier_client.send_status(call, "completed", state=state, code=f"to {subject.number}")
    world.run_jobs(tenant)


def _leave_voicemail(
    world: Factory,
    tenant: Tenant,
    carrier_client: CarrierClient,
    carrier: RealCallerCarrier,
    subject: ErasureSubject,
    to: str,
    call: str,
) -> None:
    state = carrier_client.ring(to, call, subject.number)["state"]
    carrier.add_recording(call, subject.phrase.encode() * 60, provider_recording_id=f"RE-{call}")
    carrier_client.send_event("voicemail", call, state, recording_id=f"RE-{call}")
    world.run_jobs(tenant)


def _place_outbound_call(
    world: Factory,
    tenant: Tenant,
    carrier_client: CarrierClient,
    subject: ErasureSubject,
    from_number: str,
) -> None:
    [number] = [
        phone_number
        for phone_number in tenant.get("/phone-numbers").json
        if phone_number["did_number"] == from_number
    ]
    call_request = {
        "to": subject.number,
        "from_phone_number_id": number["id"],
        "metadata": {"name": subject.name, "about": subject.phrase, "phone": subject.number[1:]},
    }
    key = {"Idempotency-Key": f"call {subject.number} {uuid4()}"}
    response = tenant.post("/calls", call_request, headers=key)
    assert response.status_code == 202, response.text
    world.run_jobs(tenant)
    call = tenant.get("/calls", direction="outbound").json[0]
    carrier_client.send_status(call["provider_call_id"], "completed", to=from_number)
    tenant.post(f"/calls/{call['id']}/hangup")
    world.run_jobs(tenant)


def _mention_subject(
    world: Factory,
    tenant: Tenant,
    carrier_client: CarrierClient,
    subject: ErasureSubject,
    to: str,
    call: str,
) -> None:
    use_model(SequenceModel([f"I will tell {subject.number}."], NOTE_CALL_STEPS))
    state = carrier_client.ring(to, call, fresh_number())["state"]
    carrier_client.say(
        call, state, f"Tell my wife at {subject.spoken_number} or {subject.number[1:]}, please."
    )
    carrier_client.send_status(call, "completed", state=state)
    world.run_jobs(tenant)


def enqueue_jobs_naming(tenant: Tenant, subject: ErasureSubject) -> None:
    """Add a finished job and a waiting job that name the subject."""
    statement = (
        "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, status, args, scheduled_at)"
        " SELECT 'default', 'webhooks.tell', s::jobs.procrastinate_job_status,"
        " jsonb_build_object('tenant_id', %(id)s::text, 'type', 'message.taken', 'event_id',"
        " gen_random_uuid(), 'at', now(), 'data',"
        " jsonb_build_object('told', %(number)s::text, 'count', %(digits)s::bigint)),"
        " now() + interval '1 hour'"
        " FROM unnest(ARRAY['failed', 'todo']) s"
    )
    values = {"id": tenant.id, "number": subject.number, "digits": subject.number[1:]}
    with admin_db.public_session() as session:
        session.connection().exec_driver_sql(statement, values)


def dump_rows(db_snapshot: SnapshotChecker, tenant: Tenant) -> list[str]:
    """Return every row of the tenant's schema, of `public` and of the queue, as text."""
    schemas = (tenant.ref.schema, "public", "jobs")
    tables = db_snapshot.rows(
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = ANY (%s) AND relkind IN ('r', 'p')",
        list(schemas),
    )
    rows = (db_snapshot.rows(f"SELECT '{name} ' || t::text FROM {name} t") for (name,) in tables)
    return [row for (row,) in chain.from_iterable(rows)]


def all_stored_files() -> list[Path]:
    """Return every file of the store."""
    store = app_services().store
    assert isinstance(store, FolderStore)
    return [path for path in store._root.rglob("*") if path.is_file()]
