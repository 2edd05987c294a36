"""Create tenants with rows in every table, whose texts contain a marker of that tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update

from tests.support import pii_sentinel
from tests.support.accounts import create_account
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from tests.support.marked_fields import hours_fields, profile_fields, settings_fields
from tests.support.services import app_services
from vca.kit import clock
from vca.registry.webhooks import deliveries, endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.messages import service as messages
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.privacy import requests
from vca.tenant.recordings import service as recordings
from vca.tenant.settings.hours import DAYS
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.models import Delivery, Webhook

# Rows that are otherwise written while a call is controlled, recorded and has a message left.
_CALL_ROWS_SQL = """
INSERT INTO outbound_legs (id, tenant_id, call_id, kind, number)
VALUES (gen_random_uuid(), current_setting('vca.tenant_id')::uuid, '{call}', 'call', '{word}');
INSERT INTO idempotency_keys (id, tenant_id, api_key, key, request_hash)
VALUES (gen_random_uuid(), current_setting('vca.tenant_id')::uuid, '{word}', '{word}', '{word}')
"""

# The path parameters for which a populated tenant has an id.
RESOURCE_IDS = (
    "tenant_id",
    "ai_profile_id",
    "phone_number_id",
    "call_id",
    "message_id",
    "webhook_id",
    "delivery_id",
    "key_id",
    "telephony_account_id",
    "export_id",
    "erasure_id",
)
# The lists in which a populated tenant has at least two rows.
LIST_NAMES = (
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

# Every field of opening hours; the number is open whenever a test runs.
HOURS = {
    "weekly": {day: [{"from": "00:00", "to": "24:00"}] for day in DAYS},
    "holidays": [
        {"date": "2030-12-25", "name": "Christmas", "open": [{"from": "10:00", "to": "24:00"}]}
    ],
    "closed_action": "voicemail",
}


@dataclass(frozen=True)
class PopulatedTenant:
    """A tenant with at least one of every resource. `marker` is in every text that it stores."""

    tenant: Tenant
    marker: str
    ids: Mapping[str, str]  # by the name of the path parameter
    platform_ids: Mapping[str, str]  # the same for resources of the platform
    did_number: str
    quarantined_did: str
    assigned_did: str
    other_secrets: frozenset[
        str
    ]  # further ids, numbers and key prefixes that belong to this tenant only
    live_call_state: str
    provider_call_id: str
    ended_call_id: str

    def path_ids(self, path: str) -> Mapping[str, str]:
        """Return the ids for a path of the document. Only an ended call can be replayed."""
        if path.startswith("/api/webhooks"):
            return {**self.ids, **self.platform_ids}
        replayable = {"call_id": self.ended_call_id} if path.endswith("/replay") else {}
        return {**self.ids, **replayable}

    @property
    def secrets(self) -> frozenset[str]:
        """Return all values that no other tenant may ever see."""
        own_values = {
            self.marker,
            self.tenant.key,
            self.did_number,
            self.quarantined_did,
            self.assigned_did,
        }
        return frozenset(own_values | set(self.ids.values()) | self.other_secrets)

    def leaked_secrets(self, response_text: str, *, request_text: str = "") -> list[str]:
        """Return the secrets in a response, except those that the request contained."""
        response_text, request_text = response_text.lower(), request_text.lower()
        return [
            secret
            for secret in sorted(self.secrets)
            if (secret.lower() in response_text or secret.lower().replace("-", "") in response_text)
            and secret.lower() not in request_text
        ]


class SignedCarrierClient:
    """Sends signed requests of the fake carrier and returns the raw responses."""

    def __init__(self, world: Factory, carrier: FakeTelephonyAdapter) -> None:
        self._api = world.api(None)
        self.carrier = carrier
        self._base_url: str = app_services().callback_url(carrier.name)

    def send(self, action: str, **fields: Any) -> Any:
        """Send a request of the carrier and return the response."""
        request = self.carrier.signed_request(action, self._base_url, **fields)
        return self._post(action, request.body, dict(request.headers))

    def send_bytes(self, action: str, body: bytes) -> Any:
        """Send any body with a valid signature."""
        signature = self.carrier.sign(f"{self._base_url}{action}", body).decode()
        return self._post(action, body, {"X-Fake-Signature": signature})

    def _post(self, action: str, body: bytes, headers: dict[str, str]) -> Any:
        path = f"/telephony/{self.carrier.name}/{action}"
        sent_headers = {"Content-Type": "application/json", **headers}
        return self._api.send("POST", path, data=body, headers=sent_headers)


def populate_tenant(
    world: Factory, platform: Platform, carrier_client: SignedCarrierClient, name: str
) -> PopulatedTenant:
    """Create a tenant with settings, profiles, numbers, keys, calls, events and turns."""
    marker = f"{name}{uuid4().hex[:12]}"
    personal_marker = (
        f"{pii_sentinel.SENTINEL}{marker}"  # for personal data, which no log may contain
    )
    tenant = world.tenant(f"{personal_marker} Inc.", external_id=marker)
    tenant.patch("/settings", settings_fields(personal_marker))
    # Raise the limit, so that tests with a table of requests never exceed it.
    platform.api.patch(tenant.url("/settings"), {"limits": {"concurrent_calls": 10_000}})
    default_profile = tenant.profile(**profile_fields(personal_marker))
    second_profile = tenant.profile(**profile_fields(personal_marker), is_default=False)
    tenant.patch(f"/ai-profiles/{second_profile['id']}", {"greeting": f"{personal_marker} again."})
    number = tenant.number(label=personal_marker, hours=hours_fields(personal_marker))
    accounts = [create_account(tenant, label=personal_marker) for _ in range(2)]
    second_number = tenant.number(
        label=personal_marker,
        ai_profile_id=second_profile["id"],
        fallback_number=fresh_number(),
        mode="closed",
        **accounts[1].number_fields,
    )
    decision_secret = _enable_decision_webhook(tenant, UUID(second_number["id"]), marker)
    quarantined = tenant.number(label=personal_marker)
    tenant.delete(f"/phone-numbers/{quarantined['id']}")
    assigned = fresh_number()
    platform.api.post("/api/dids", {"did_number": assigned, "tenant_id": tenant.id})
    key = assert_created(tenant.post("/api-keys", {"name": marker}))
    world.run_jobs(tenant)
    caller, calls = fresh_number(), f"{marker}-call"
    _create_ended_call(carrier_client, number["did_number"], caller, f"{calls}-over", marker)
    simulated = tenant.simulate(number["did_number"])
    tenant.say(simulated["call_id"], f"{personal_marker}, are you there?")
    live_call = carrier_client.send(
        "voice", call_id=calls, to=number["did_number"], **{"from": caller}
    ).json
    carrier_client.send(
        "speech", call_id=calls, state=live_call["state"], text=f"{personal_marker}!"
    )
    call_list = tenant.get("/calls", caller_number=caller).json
    world.sql(tenant, _CALL_ROWS_SQL.format(word=marker, call=call_list[0]["id"]))
    message_id = _create_messages(world, carrier_client, tenant, UUID(simulated["call_id"]), marker)
    webhook_id, delivery_id, *secrets = _create_webhooks(tenant, marker)
    request_ids = _create_privacy_requests(tenant, marker)
    return PopulatedTenant(
        tenant=tenant,
        marker=marker,
        ids={
            "tenant_id": tenant.id,
            "ai_profile_id": second_profile["id"],
            "phone_number_id": number["id"],
            "call_id": simulated["call_id"],
            "message_id": message_id,
            "webhook_id": webhook_id,
            "delivery_id": delivery_id,
            "key_id": key["id"],
            "telephony_account_id": accounts[0].id,
            **request_ids,
        },
        platform_ids=_create_platform_delivery(),
        did_number=number["did_number"],
        quarantined_did=quarantined["did_number"],
        assigned_did=assigned,
        other_secrets=frozenset(
            [
                default_profile["id"],
                second_number["id"],
                second_number["did_number"],
                second_number["fallback_number"],
                key["key"],
                key["prefix"],
                caller,
                *secrets,
                decision_secret,
                accounts[1].id,
                *(account.fields["secret"] for account in accounts),
                *(call["id"] for call in call_list),
            ]
        ),
        live_call_state=live_call["state"],
        provider_call_id=calls,
        ended_call_id=next(call["id"] for call in call_list if call["ended_at"]),
    )


def body_values(tenant: PopulatedTenant) -> dict[str, Any]:
    """Return the values for fields whose example in the schema would be refused."""
    return {
        "did_number": fresh_number(),
        "forward_to": fresh_number(),
        "fallback_number": fresh_number(),
        "number": fresh_number(),
        "home_country": "GB",
        "countries": ["GB", "US"],
        "variables": {"company": tenant.marker},
        "url": "https://8.8.8.8/a-literal-address-asks-no-name-service",
        "events": ["call.ended"],
        "hours": HOURS,
        "external_id": uuid4().hex,
        "tenant_id": tenant.tenant.id,
        "ai_profile_id": tenant.ids["ai_profile_id"],
        "to": tenant.did_number,
        "callee": fresh_number(),
        "from_phone_number_id": tenant.ids["phone_number_id"],
        "provider_type": "fake",
        "telephony_account_id": None,
        "fields": {"account_id": tenant.marker, "secret": f"secret-{tenant.marker}"},
        "phone_number_id": tenant.ids["phone_number_id"],
        "tools": ["end_call"],
        "model": "house-model",
        "extract": {"type": "object"},
    }


def list_cursor(tenant: Tenant, list_name: str) -> str:
    """Return the cursor to the second page of one row."""
    return cursor_of(tenant.get(f"/{list_name}", limit=1))


def cursor_of(response: Any) -> str:
    """Return the cursor in the `Link` header."""
    link: str = response.headers["Link"]
    return link.partition("cursor=")[2].partition(">")[0].partition("&")[0]


def _create_messages(
    world: Factory, carrier_client: SignedCarrierClient, tenant: Tenant, call_id: UUID, marker: str
) -> str:
    """Create a stored recording and two messages; return the id of the second message."""
    personal_marker = f"{pii_sentinel.SENTINEL}{marker}"
    carrier_client.carrier.add_recording(
        marker, marker.encode() * 100, provider_recording_id=marker
    )
    with tenant_session(tenant.ref, database=app_services().database) as session:
        recordings.create_pending(
            session,
            call_id=call_id,
            kind="call",
            provider_type="fake",
            provider_call_id=marker,
            provider_recording_id=marker,
        )
        for kind in ("message", "voicemail"):
            message = messages.create(
                session,
                call_id=call_id,
                kind=kind,
                name=personal_marker,
                reason=personal_marker,
                caller_number=None,
                callback_number=personal_marker,
                services=app_services(),
            )
    world.run_jobs(tenant)
    return str(message.id)


def _create_platform_delivery() -> dict[str, str]:
    """Create an inactive platform webhook and a delivery; return their ids by path parameter."""
    with public_session(database=app_services().database) as session:
        row, _ = endpoints.create(
            session,
            PLATFORM_SCOPE,
            url="https://example.com/",
            is_active=False,
            services=app_services(),
        )
        delivery = deliveries.add_delivery(
            session,
            PLATFORM_SCOPE,
            webhook_id=row.id,
            event_id=uuid4(),
            type="tenant.activated",
            data={},
            now=clock.now(),
        )
    return {"webhook_id": str(row.id), "delivery_id": str(delivery.id)}


def _create_webhooks(tenant: Tenant, marker: str) -> tuple[str, ...]:
    """Create two inactive webhooks; return (id, id of a delivery, secrets)."""
    scope = tenant_scope.for_tenant(tenant.ref)
    secrets: list[str] = []
    personal_marker = f"{pii_sentinel.SENTINEL}{marker}"
    with tenant_session(tenant.ref, database=app_services().database) as session:
        for _ in range(2):
            url = f"https://{marker}.example.com/{personal_marker}"
            row, first_secret = endpoints.create(
                session, scope, url=url, description=personal_marker, services=app_services()
            )
            _, second_secret = endpoints.rotate_secret(
                session, scope, webhook_id=row.id, now=clock.now(), services=app_services()
            )
            secrets += first_secret, second_secret
        events.emit(session, events.Event("message.taken", {"word": marker}))
        for delivery in session.scalars(select(Delivery)):
            delivery.attempts = [{"at": clock.now().isoformat(), "response": personal_marker}]
        session.execute(update(Webhook).values(is_active=False))
        delivery_id = session.scalars(
            select(Delivery.id).where(Delivery.webhook_id == row.id)
        ).one()
    return str(row.id), str(delivery_id), *secrets


def _enable_decision_webhook(tenant: Tenant, number_id: UUID, marker: str) -> str:
    """Enable a decision webhook for a number that nobody calls; return its secret."""
    url = f"https://{marker}.example.com/{marker}"
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return decision_webhook.enable(
            session, phone_number_id=number_id, url=url, now=clock.now(), services=app_services()
        )


def _create_privacy_requests(tenant: Tenant, marker: str) -> dict[str, str]:
    """Create a finished export and a finished erasure; return their ids by path parameter."""
    ids = {}
    with tenant_session(tenant.ref, database=app_services().database) as session:
        for kind in ("export", "erasure"):
            row = requests.create_request(
                session,
                tenant.ref,
                kind=kind,
                number=fresh_number(),
                now=clock.now(),
                services=app_services(),
            )
            requests.update_result(session, row.id, configured=[marker], size_bytes=len(marker))
            requests.finish(session, row.id, now=clock.now())
            ids[f"{kind}_id"] = str(row.id)
    return ids


def _create_ended_call(
    carrier_client: SignedCarrierClient, to: str, caller: str, call_id: str, marker: str
) -> None:
    response = carrier_client.send("voice", call_id=call_id, to=to, **{"from": caller}).json
    carrier_client.send(
        "speech",
        call_id=call_id,
        state=response["state"],
        text=f"My name is {pii_sentinel.SENTINEL}{marker}.",
    )
    carrier_client.send(
        "status", call_id=call_id, state=response["state"], status="failed", code=marker
    )
