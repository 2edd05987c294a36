"""Two furnished tenants: rows in every table, each text of theirs bearing a word of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update

from tests.support import canary
from tests.support.accounts import keep
from tests.support.world import Platform, Tenant, World, fresh_number, made
from vca.kit import clock
from vca.registry.webhooks import deliveries, endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.core import call_services
from vca.tenant.messages import service as messages
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.privacy import requests
from vca.tenant.recordings import service as recordings
from vca.tenant.settings.hours import DAYS
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.models import Delivery, Webhook

# What is written while a call is controlled, recorded and left a message in.
_KEPT = """
INSERT INTO outbound_legs (id, tenant_id, call_id, kind, number)
VALUES (gen_random_uuid(), current_setting('vca.tenant_id')::uuid, '{call}', 'call', '{word}');
INSERT INTO idempotency_keys (id, tenant_id, api_key, key, request_hash)
VALUES (gen_random_uuid(), current_setting('vca.tenant_id')::uuid, '{word}', '{word}', '{word}')
"""

# Every field of opening hours, and the line is open whenever a test runs.
HOURS = {
    "weekly": {day: [{"from": "00:00", "to": "24:00"}] for day in DAYS},
    "holidays": [
        {"date": "2030-12-25", "name": "Christmas", "open": [{"from": "10:00", "to": "24:00"}]}
    ],
    "closed_action": "voicemail",
}


@dataclass(frozen=True)
class Premises:
    """A tenant with something of everything. `word` is in every text that it keeps."""

    tenant: Tenant
    word: str
    ids: Mapping[str, str]  # by the name of the path parameter
    operators: Mapping[str, str]  # the same of what is not the tenant's but the operator's
    did_number: str
    resting_did: str
    assigned_did: str
    others: frozenset[str]  # what else is the tenant's alone: further ids, numbers, key prefixes
    live_call_state: str
    provider_call_id: str
    ended_call_id: str

    def known(self, path: str) -> Mapping[str, str]:
        """The ids for a path as the document writes it: only a finished call can be replayed."""
        if path.startswith("/api/webhooks"):
            return {**self.ids, **self.operators}
        ended = {"call_id": self.ended_call_id} if path.endswith("/replay") else {}
        return {**self.ids, **ended}

    @property
    def secrets(self) -> frozenset[str]:
        """What nobody else may ever see."""
        known = {self.word, self.tenant.key, self.did_number, self.resting_did, self.assigned_did}
        return frozenset(known | set(self.ids.values()) | self.others)

    def leaked(self, answer: str, *, but: str = "") -> list[str]:
        """What of the secrets stands in an answer; what the asker said himself does not count."""
        answer = answer.lower()
        return [
            secret
            for secret in sorted(self.secrets)
            if secret.lower() not in but.lower()
            and (secret.lower() in answer or secret.lower().replace("-", "") in answer)
        ]


class Line:
    """What the fake carrier sends, signed, over HTTP."""

    def __init__(self, world: World, carrier: FakeTelephonyAdapter) -> None:
        self._api = world.api(None)
        self.carrier = carrier
        self._base_url: str = call_services.current_services().callback_url(carrier.name)

    def send(self, action: str, **said: Any) -> Any:
        """The carrier's request; the answer."""
        request = self.carrier.signed_request(action, self._base_url, **said)
        return self._post(action, request.body, dict(request.headers))

    def send_bytes(self, action: str, body: bytes) -> Any:
        """A body of any kind under a good signature."""
        signature = self.carrier.sign(f"{self._base_url}{action}", body).decode()
        return self._post(action, body, {"X-Fake-Signature": signature})

    def _post(self, action: str, body: bytes, headers: dict[str, str]) -> Any:
        path = f"/telephony/{self.carrier.name}/{action}"
        sent = {"Content-Type": "application/json", **headers}
        return self._api.send("POST", path, data=body, headers=sent)


def furnish(world: World, platform: Platform, line: Line, name: str) -> Premises:
    """Make a tenant with settings, profiles, numbers, keys, calls, events and turns."""
    word = f"{name}{uuid4().hex[:12]}"
    said = f"{canary.WORD}{word}"  # in what is of people, and no log may hold
    tenant = world.tenant(f"{said} Inc.", external_id=word)
    tenant.patch("/settings", _settings(said))
    # Whatever is refused in a table of requests is not for want of lines.
    platform.api.patch(tenant.url("/settings"), {"limits": {"concurrent_calls": 10_000}})
    default = tenant.profile(**_profile(said))
    named = tenant.profile(**_profile(said), is_default=False)
    tenant.patch(f"/ai-profiles/{named['id']}", {"greeting": f"{said} again."})
    number = tenant.number(label=said, hours=_hours(said))
    accounts = [keep(tenant, label=said) for _ in range(2)]
    second = tenant.number(
        label=said,
        ai_profile_id=named["id"],
        fallback_number=fresh_number(),
        mode="closed",
        **accounts[1].named,
    )
    deciding = _armed(tenant, UUID(second["id"]), word)
    resting = tenant.number(label=said)
    tenant.delete(f"/phone-numbers/{resting['id']}")
    assigned = fresh_number()
    platform.api.post("/api/dids", {"did_number": assigned, "tenant_id": tenant.id})
    key = made(tenant.post("/api-keys", {"name": word}))
    world.work(tenant)
    caller, calls = fresh_number(), f"{word}-call"
    _ended_call(line, number["did_number"], caller, f"{calls}-over", word)
    simulated = tenant.simulate(number["did_number"])
    tenant.say(simulated["call_id"], f"{said}, are you there?")
    live = line.send("voice", call_id=calls, to=number["did_number"], **{"from": caller}).json
    line.send("speech", call_id=calls, state=live["state"], text=f"{said}!")
    found = tenant.get("/calls", caller_number=caller).json
    world.sql(tenant, _KEPT.format(word=word, call=found[0]["id"]))
    message_id = _left(world, line, tenant, UUID(simulated["call_id"]), word)
    webhook_id, delivery_id, *secrets = _told(tenant, word)
    asked_for = _asked_for(tenant, word)
    return Premises(
        tenant=tenant,
        word=word,
        ids={
            "tenant_id": tenant.id,
            "ai_profile_id": named["id"],
            "phone_number_id": number["id"],
            "call_id": simulated["call_id"],
            "message_id": message_id,
            "webhook_id": webhook_id,
            "delivery_id": delivery_id,
            "key_id": key["id"],
            "telephony_account_id": accounts[0].id,
            **asked_for,
        },
        operators=_told_operators(),
        did_number=number["did_number"],
        resting_did=resting["did_number"],
        assigned_did=assigned,
        others=frozenset(
            [
                default["id"],
                second["id"],
                second["did_number"],
                second["fallback_number"],
                key["key"],
                key["prefix"],
                caller,
                *secrets,
                deciding,
                accounts[1].id,
                *(account.fields["secret"] for account in accounts),
                *(call["id"] for call in found),
            ]
        ),
        live_call_state=live["state"],
        provider_call_id=calls,
        ended_call_id=next(call["id"] for call in found if call["ended_at"]),
    )


def values(premises: Premises) -> dict[str, Any]:
    """What a body must hold to be accepted where the schema's own example would not do."""
    return {
        "did_number": fresh_number(),
        "forward_to": fresh_number(),
        "fallback_number": fresh_number(),
        "number": fresh_number(),
        "home_country": "GB",
        "countries": ["GB", "US"],
        "variables": {"company": premises.word},
        "url": "https://8.8.8.8/a-literal-address-asks-no-name-service",
        "events": ["call.ended"],
        "hours": HOURS,
        "external_id": uuid4().hex,
        "tenant_id": premises.tenant.id,
        "ai_profile_id": premises.ids["ai_profile_id"],
        "to": premises.did_number,
        "callee": fresh_number(),
        "from_phone_number_id": premises.ids["phone_number_id"],
        "provider_type": "fake",
        "telephony_account_id": None,
        "fields": {"account_id": premises.word, "secret": f"secret-{premises.word}"},
        "phone_number_id": premises.ids["phone_number_id"],
        "tools": ["end_call"],
        "model": "house-model",
        "extract": {"type": "object"},
    }


def cursors(tenant: Tenant) -> Iterator[tuple[str, str]]:
    """(list, cursor) of every list of the tenant that has a second page of one row."""
    lists = (
        "ai-profiles",
        "phone-numbers",
        "api-keys",
        "calls",
        "messages",
        "webhooks",
        "telephony-accounts",
        "events",
        "audit",
    )
    for path in (f"/{name}" for name in lists):
        answer = tenant.get(path, limit=1)
        yield path, cursor_of(answer)


def cursor_of(answer: Any) -> str:
    """The cursor in a `Link` header."""
    link: str = answer.headers["Link"]
    return link.partition("cursor=")[2].partition(">")[0].partition("&")[0]


def _left(world: World, line: Line, tenant: Tenant, call_id: UUID, word: str) -> str:
    """A recording in the store, and two messages; one's id."""
    told = {"provider_type": "fake", "provider_call_id": word, "provider_recording_id": word}
    said = f"{canary.WORD}{word}"
    left = {"name": said, "reason": said, "caller_number": None}
    line.carrier.add_recording(word, word.encode() * 100, provider_recording_id=word)
    with tenant_session(tenant.ref) as session:
        recordings.create_pending(session, call_id=call_id, kind="call", **told)
        for kind in ("message", "voicemail"):
            message = messages.create(
                session, call_id=call_id, kind=kind, callback_number=said, **left
            )
    world.work(tenant)
    return str(message.id)


def _told_operators() -> dict[str, str]:
    """An operator's webhook that is told of nobody any more, and the id of a delivery to it."""
    with public_session() as session:
        row, _ = endpoints.create(
            session, PLATFORM_SCOPE, url="https://example.com/", is_active=False
        )
        sent = deliveries.add_delivery(
            session,
            PLATFORM_SCOPE,
            webhook_id=row.id,
            event_id=uuid4(),
            type="tenant.activated",
            data={},
            now=clock.now(),
        )
    return {"webhook_id": str(row.id), "delivery_id": str(sent.id)}


def _told(tenant: Tenant, word: str) -> tuple[str, ...]:
    """Two webhooks that nothing is sent to any more: (id, a delivery's id, the secrets)."""
    box = tenant_scope.for_tenant(tenant.ref)
    secrets: list[str] = []
    said = f"{canary.WORD}{word}"
    with tenant_session(tenant.ref) as session:
        for _ in range(2):
            url = f"https://{word}.example.com/{said}"
            row, first = endpoints.create(session, box, url=url, description=said)
            _, then = endpoints.rotate_secret(session, box, webhook_id=row.id, now=clock.now())
            secrets += first, then
        events.emit(session, events.Event("message.taken", {"word": word}))
        for delivery in session.scalars(select(Delivery)):
            delivery.attempts = [{"at": clock.now().isoformat(), "response": said}]
        session.execute(update(Webhook).values(is_active=False))
        delivery_id = session.scalars(
            select(Delivery.id).where(Delivery.webhook_id == row.id)
        ).one()
    return str(row.id), str(delivery_id), *secrets


def _armed(tenant: Tenant, number_id: UUID, word: str) -> str:
    """A decision webhook of a number that nobody can ring; its secret."""
    url = f"https://{word}.example.com/{word}"
    with tenant_session(tenant.ref) as session:
        return decision_webhook.enable(session, phone_number_id=number_id, url=url, now=clock.now())


def _asked_for(tenant: Tenant, word: str) -> dict[str, str]:
    """An export and an erasure that are done, by the names of their ids."""
    ids = {}
    with tenant_session(tenant.ref) as session:
        for kind in ("export", "erasure"):
            asked = {"kind": kind, "number": fresh_number(), "now": clock.now()}
            row = requests.create_request(session, tenant.ref, **asked)
            requests.update_result(session, row.id, configured=[word], size_bytes=len(word))
            requests.finish(session, row.id, now=clock.now())
            ids[f"{kind}_id"] = str(row.id)
    return ids


def _ended_call(line: Line, to: str, caller: str, call_id: str, word: str) -> None:
    rung = line.send("voice", call_id=call_id, to=to, **{"from": caller}).json
    line.send(
        "speech", call_id=call_id, state=rung["state"], text=f"My name is {canary.WORD}{word}."
    )
    line.send("status", call_id=call_id, state=rung["state"], status="failed", code=word)


def _settings(word: str) -> dict[str, Any]:
    return {
        "time_zone": "Europe/Berlin",
        "home_country": "GB",
        "sentences": _sentences(word),
        "hours": _hours(word),
        "variables": {"company": word},
        "notification_email": f"{word}@example.com",
        "dial_policy": {"per_minute": 1_000},
    }


def _hours(word: str) -> dict[str, Any]:
    return {"holidays": [{"date": "2030-12-25", "name": word}], "closed_action": "voicemail"}


def _sentences(word: str) -> dict[str, str]:
    names = ("over_limit", "suspended", "closed", "fallback")
    return {name: f"{word}: {name}." for name in names}


def _profile(word: str) -> dict[str, Any]:
    target = {"number": fresh_number(), "description": word}
    return {
        "name": word,
        "system_prompt": f"You answer for {word}.",
        "greeting": f"{word}, good morning!",
        "language": "en-US",
        "voice": word,
        "model": "house-model",
        "end_phrases": [f"goodbye {word}"],
        "tools": ["transfer"],
        "transfer_targets": {word[:40]: target},
        "extract": {"type": "object", "title": word},
        "consent_sentence": f"{word} records this call.",
    }
