"""`flask demo`: create two demo tenants. Running it again changes nothing."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy.orm import Session

from vca import cli
from vca.devtools.embedded_postgres.directories import make_parents
from vca.kit import clock, json
from vca.kit.paging import PageRequest
from vca.registry.api_keys import service as api_keys
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.service import NumberAlreadyClaimed
from vca.registry.tenants import service as tenants
from vca.registry.tenants.models import Tenant
from vca.services import Services, current_services
from vca.settings import Settings
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings import service as settings_service

KEYS_FILE_NAME = "demo.json"


@dataclass(frozen=True)
class DemoTenant:
    """A demo tenant. All its numbers are from ranges that regulators reserve for fiction."""

    external_id: str
    name: str
    number: str
    fallback_number: str
    settings: dict[str, Any]
    profile: dict[str, Any]


@dataclass(frozen=True)
class SeededTenant:
    """A demo tenant as the command prints it. Its fields are the keys of the JSON."""

    name: str
    tenant_id: str
    number: str | None
    key: str


_WHOLE_DAY = [{"from": "00:00", "to": "24:00"}]
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")

DEMO_TENANTS = (
    DemoTenant(
        "demo-acme",
        "Acme Dental",
        "+14155550100",
        "+14155550101",
        {
            "time_zone": "America/Los_Angeles",
            "home_country": "US",
            # Always open except on holidays, so that the first call of a newcomer is answered.
            "hours": {
                "weekly": dict.fromkeys((*_WEEKDAYS, "saturday", "sunday"), _WHOLE_DAY),
                "closed_action": "voicemail",
            },
            "sentences": {
                "closed": "Acme Dental is closed for the holiday. Please leave a message."
            },
        },
        {
            "name": "Acme front desk",
            "role": "receptionist",
            "system_prompt": "You answer the telephone of Acme Dental, an emergency dental clinic "
            "in San Francisco. Ask whether the caller is in pain. Connect callers who are in pain "
            "with the dentist on duty, and those with a question about a bill with billing. For "
            "everything else take a message with the caller's name and reason, and say that the "
            "clinic will call back. Quote no prices and give no medical advice.",
            "greeting": "Acme Dental, good day! How can I help you?",
            "language": "en-US",
            "end_phrases": ["goodbye", "bye"],
            "tools": ["end_call", "transfer", "take_message"],
            "transfer_targets": {
                "dentist on duty": {
                    "number": "+14155550102",
                    "description": "Pain, swelling, an accident or a broken tooth.",
                },
                "billing": {
                    "number": "+14155550103",
                    "description": "Bills and insurance.",
                },
            },
            "extract": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "The caller's name."},
                    "reason": {"type": "string", "description": "What the call was about."},
                    "in_pain": {"type": "boolean", "description": "Whether the caller is in pain."},
                },
                "required": ["reason"],
            },
        },
    ),
    DemoTenant(
        "demo-globex",
        "Globex Support",
        "+442079460123",
        "+442079460124",
        {
            "time_zone": "Europe/London",
            "home_country": "GB",
            "hours": {
                "weekly": {
                    **dict.fromkeys(_WEEKDAYS, _WHOLE_DAY),
                    "saturday": [{"from": "00:00", "to": "20:00"}],
                    "sunday": [{"from": "08:00", "to": "24:00"}],
                },
                "closed_action": "voicemail",
            },
            "sentences": {
                "closed": "The Globex help line is closed. Please leave a message after the tone."
            },
        },
        {
            "name": "Globex help line",
            "role": "support",
            "system_prompt": "You answer the help line of Globex, which makes coffee machines. "
            "Find out which machine it is, what is wrong with it and what has been tried. A "
            "machine that does not start needs its plug pulled for a minute; one that leaks needs "
            "its water tank pressed down. If that does not help, connect the caller with repairs, "
            "or take a message with name, machine and problem. Orders and invoices are for sales.",
            "greeting": "Globex help line. What can I do for your coffee machine?",
            "language": "en-GB",
            "end_phrases": ["goodbye", "bye"],
            "tools": ["end_call", "transfer", "take_message", "fallback"],
            "transfer_targets": {
                "repairs": {
                    "number": "+442079460125",
                    "description": "Machines that still do not work, and spare parts.",
                },
                "sales": {
                    "number": "+442079460126",
                    "description": "Orders, coffee beans and invoices.",
                },
            },
            "extract": {
                "type": "object",
                "properties": {
                    "machine": {"type": "string", "description": "The model of the machine."},
                    "problem": {"type": "string", "description": "What is wrong with it."},
                    "tried": {"type": "string", "description": "What has been tried so far."},
                },
                "required": ["problem"],
            },
        },
    ),
)


@click.command("demo")
@cli.as_json
@cli.with_db_timeout
def demo(as_json: bool) -> None:
    """Create two demo tenants.

    Each has a number, an AI profile and an API key. What already exists is kept.
    """
    settings: Settings = current_services().settings
    if settings.production:
        cli.fail("The demo is not available in production.")
    rows = [
        asdict(item)
        for item in seed_demo_tenants(
            settings.peppers, settings.state_folder / KEYS_FILE_NAME, services=current_services()
        )
    ]
    text = cli.format_table(rows, ("name", "number", "tenant_id", "key"))
    cli.print_result(rows, as_json=as_json, text=text)


def seed_demo_tenants(
    peppers: Sequence[str], keys_file: Path, *, services: Services
) -> list[SeededTenant]:
    """Return the demo tenants, created or found. Tenants that were deleted since are left out.

    API keys are shown once and stored as hashes, so this saves them in a file. A lost or revoked
    key is replaced.
    """
    stored_keys = _load_keys(keys_file)
    results = [
        _seed_tenant(demo_tenant, peppers, stored_keys, services=services)
        for demo_tenant in DEMO_TENANTS
    ]
    seeded = [item for item in results if item is not None]
    _save_keys(keys_file, stored_keys | {item.tenant_id: item.key for item in seeded})
    return seeded


def _seed_tenant(
    demo_tenant: DemoTenant,
    peppers: Sequence[str],
    stored_keys: dict[str, str],
    *,
    services: Services,
) -> SeededTenant | None:
    with public_session(database=services.database) as session:
        tenant = _find_tenant(session, demo_tenant) or tenants.create(
            session, name=demo_tenant.name, external_id=demo_tenant.external_id
        )
        if tenant.status == "deleted":
            return None
        key = _ensure_key(session, tenant.id, peppers, stored_keys.get(str(tenant.id), ""))
        number_registry.permit_claim(
            session, number=demo_tenant.number, tenant_id=tenant.id, policy="platform"
        )
    number = _ensure_profile_and_number(tenants.tenant_ref(tenant), demo_tenant, services=services)
    return SeededTenant(tenant.name, str(tenant.id), number, key)


def _find_tenant(session: Session, demo_tenant: DemoTenant) -> Tenant | None:
    page = tenants.list_page(session, page=PageRequest(1), external_id=demo_tenant.external_id)
    return page.items[0] if page.items else None


def _ensure_key(session: Session, tenant_id: UUID, peppers: Sequence[str], stored_key: str) -> str:
    connection = session.connection()
    if api_keys.authenticate(
        connection, presented=stored_key, peppers=peppers, path_tenant_id=None
    ):
        return stored_key
    _, key = api_keys.create(session, name="demo", tenant_id=tenant_id, pepper=peppers[0])
    return key


def _ensure_profile_and_number(
    tenant: TenantRef, demo_tenant: DemoTenant, *, services: Services
) -> str | None:
    """Create settings with a profile, and a number, if there are none.

    Return the number, or None if it is not available.
    """
    try:
        with tenant_session(tenant, database=services.database) as session:
            if not ai_profiles.list_page(session, page=PageRequest(1)).items:
                _change_settings(session, demo_tenant, services=services)
                ai_profiles.create(session, **demo_tenant.profile, services=services)
            numbers = phone_numbers.list_page(session, page=PageRequest(1)).items
            number = numbers[0] if numbers else _add_number(session, demo_tenant, services=services)
            return number.did_number
    except NumberAlreadyClaimed:
        return None


def _change_settings(session: Session, demo_tenant: DemoTenant, *, services: Services) -> None:
    """Set the tenant's settings, with the holidays of this year and the next."""
    year = clock.now().year
    holidays = [
        {"date": f"{holiday_year}-{day}", "name": name, "open": []}
        for holiday_year in (year, year + 1)
        for day, name in (("01-01", "New Year's Day"), ("12-25", "Christmas Day"))
    ]
    hours = {**demo_tenant.settings["hours"], "holidays": holidays}
    settings_service.change(session, **{**demo_tenant.settings, "hours": hours}, services=services)


def _add_number(session: Session, demo_tenant: DemoTenant, *, services: Services) -> PhoneNumber:
    return phone_numbers.add(
        session,
        did_number=demo_tenant.number,
        label="Demo",
        fallback_number=demo_tenant.fallback_number,
        services=services,
    )


def _load_keys(keys_file: Path) -> dict[str, str]:
    try:
        keys: dict[str, str] = json.loads(keys_file.read_bytes())
    except (OSError, ValueError):
        return {}
    return keys


def _save_keys(keys_file: Path, keys: dict[str, str]) -> None:
    """Write the keys to a file that nobody else can read."""
    make_parents(keys_file)
    descriptor = os.open(keys_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(keys))
