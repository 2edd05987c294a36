"""`flask demo`: two tenants to play with. Running it again changes nothing."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from flask import current_app
from sqlalchemy.orm import Session

from vca.kit import cli, json
from vca.kit.config import Settings
from vca.kit.embedded.directories import make_parents
from vca.kit.paging import PageRequest
from vca.registry.api_keys import service as api_keys
from vca.registry.dids.service import NumberAlreadyClaimed
from vca.registry.tenants import service as tenants
from vca.registry.tenants.models import Tenant
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.phone_numbers.models import PhoneNumber

NOTES = "demo.json"


@dataclass(frozen=True)
class Business:
    """A tenant of the demo. Its number is of a range that regulators keep for fiction."""

    external_id: str
    name: str
    number: str
    profile: dict[str, Any]


@dataclass(frozen=True)
class Seeded:
    """What a newcomer needs to know of a tenant of the demo."""

    name: str
    tenant_id: str
    number: str | None
    key: str


BUSINESSES = (
    Business(
        "demo-acme",
        "Acme Dental",
        "+14155550100",
        {
            "name": "Acme front desk",
            "role": "receptionist",
            "system_prompt": "You answer the telephone of Acme Dental in San Francisco. "
            "Find out who calls and what they need, and say that the practice will call back.",
            "greeting": "Acme Dental, good day! How can I help you?",
            "language": "en-US",
            "end_phrases": ["goodbye", "bye"],
        },
    ),
    Business(
        "demo-globex",
        "Globex Support",
        "+442079460123",
        {
            "name": "Globex help line",
            "role": "support",
            "system_prompt": "You answer the help line of Globex, which makes coffee machines. "
            "Find out which machine it is and what is wrong with it.",
            "greeting": "Globex help line. What can I do for your coffee machine?",
            "language": "en-GB",
            "end_phrases": ["goodbye", "bye"],
        },
    ),
)


@click.command("demo")
@cli.as_json
@cli.bounded
def demo(as_json: bool) -> None:
    """Make two tenants, each with a number, an AI profile and a key, unless they are there."""
    settings: Settings = current_app.extensions["settings"]
    if settings.production:
        cli.fail("The demo is not for production.")
    rows = [asdict(item) for item in seed(settings.peppers, settings.state_folder / NOTES)]
    text = cli.table(rows, ("name", "number", "tenant_id", "key"))
    cli.emit(rows, as_json=as_json, text=text)


def seed(peppers: Sequence[str], notes: Path) -> list[Seeded]:
    """The demo's tenants, made or found; one that was deleted since is left out.

    Keys are shown once and kept as hashes, so they are noted; a lost or void one is made anew.
    """
    noted = _noted(notes)
    found = [_seed(business, peppers, noted) for business in BUSINESSES]
    seeded = [item for item in found if item is not None]
    _note(notes, noted | {item.tenant_id: item.key for item in seeded})
    return seeded


def _seed(business: Business, peppers: Sequence[str], noted: dict[str, str]) -> Seeded | None:
    with public() as session:
        tenant = _find(session, business) or tenants.create(
            session, name=business.name, external_id=business.external_id
        )
        if tenant.status == "deleted":
            return None
        key = _key(session, tenant.id, peppers, noted.get(str(tenant.id), ""))
    number = _equip(tenants.ref(tenant), business)
    return Seeded(tenant.name, str(tenant.id), number, key)


def _find(session: Session, business: Business) -> Tenant | None:
    page = tenants.list_page(session, page=PageRequest(1), external_id=business.external_id)
    return page.items[0] if page.items else None


def _key(session: Session, tenant_id: UUID, peppers: Sequence[str], noted: str) -> str:
    connection = session.connection()
    if api_keys.recognise(connection, presented=noted, peppers=peppers, asked=None):
        return noted
    _, key = api_keys.create(session, name="demo", tenant_id=tenant_id, pepper=peppers[0])
    return key


def _equip(tenant: TenantRef, business: Business) -> str | None:
    """A profile and a number where there is none; None if the number is not to be had."""
    try:
        with enter(tenant) as session:
            if not ai_profiles.list_page(session, page=PageRequest(1)).items:
                ai_profiles.create(session, **business.profile)
            numbers = phone_numbers.list_page(session, page=PageRequest(1)).items
            number = numbers[0] if numbers else _add_number(session, business)
            return number.did_number
    except NumberAlreadyClaimed:
        return None


def _add_number(session: Session, business: Business) -> PhoneNumber:
    return phone_numbers.add(session, did_number=business.number, label="Demo", terms="platform")


def _noted(notes: Path) -> dict[str, str]:
    try:
        noted: dict[str, str] = json.loads(notes.read_bytes())
    except (OSError, ValueError):
        return {}
    return noted


def _note(notes: Path, keys: dict[str, str]) -> None:
    """Readable by nobody else."""
    make_parents(notes)
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(json.dumps(keys))
