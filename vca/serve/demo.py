"""`flask demo`: two tenants to play with. Running it again changes nothing."""

import os
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import click
from flask import current_app
from sqlalchemy.orm import Session

from vca.kit import cli, json
from vca.kit.config import ROOT, Settings
from vca.kit.paging import PageRequest
from vca.registry.api_keys import service as api_keys
from vca.registry.tenants import service as tenants
from vca.registry.tenants.models import Tenant
from vca.tenancy.session import enter, public
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.phone_numbers import service as phone_numbers

# Keys are shown once and kept as hashes, so the demo notes its own. Development only.
NOTES = ROOT / ".vca" / "demo.json"


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
    number: str
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
    seeded = seed(settings.peppers[0])
    rows = [asdict(item) for item in seeded]
    text = cli.table(rows, ("name", "number", "tenant_id", "key"))
    cli.emit(rows, as_json=as_json, text=text)


def seed(pepper: str) -> list[Seeded]:
    """The demo's tenants, made or found; a key that is not noted any more is made anew."""
    noted = _noted()
    seeded = [_seed(business, pepper, noted) for business in BUSINESSES]
    _note({item.tenant_id: item.key for item in seeded})
    return seeded


def _seed(business: Business, pepper: str, noted: dict[str, str]) -> Seeded:
    with public() as session:
        tenant = _find(session, business) or tenants.create(
            session, name=business.name, external_id=business.external_id
        )
        key = noted.get(str(tenant.id)) or _new_key(session, tenant.id, pepper)
    with enter(tenants.ref(tenant)) as session:
        if not phone_numbers.list_page(session, page=PageRequest(1)).items:
            ai_profiles.create(session, **business.profile)
            phone_numbers.add(session, did_number=business.number, label="Demo", terms="platform")
    return Seeded(business.name, str(tenant.id), business.number, key)


def _find(session: Session, business: Business) -> Tenant | None:
    page = tenants.list_page(session, page=PageRequest(1), external_id=business.external_id)
    return page.items[0] if page.items else None


def _new_key(session: Session, tenant_id: UUID, pepper: str) -> str:
    _, key = api_keys.create(session, name="demo", tenant_id=tenant_id, pepper=pepper)
    return key


def _noted() -> dict[str, str]:
    try:
        noted: dict[str, str] = json.loads(NOTES.read_bytes())
    except (OSError, ValueError):
        return {}
    return noted


def _note(keys: dict[str, str]) -> None:
    """Readable by nobody else."""
    NOTES.parent.mkdir(exist_ok=True)
    handle = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(json.dumps(keys))
