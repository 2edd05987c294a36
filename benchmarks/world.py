"""The tenants of a run: each with ten numbers, a profile, and a key for each of the two apps."""

from dataclasses import dataclass
from uuid import UUID

from benchmarks.postgres import Postgres
from vca.kit import db
from vca.kit.config import Settings
from vca.kit.db import Database
from vca.registry import deployment
from vca.registry.api_keys import service as api_keys
from vca.registry.tenants import service as tenants
from vca.telephony import providers
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.settings import service as settings_of_tenant

NUMBERS = 10
_FIRST_NUMBER = 442_070_000_000
# Which tables the autovacuum would visit in whose round is chance, so it stays away; and plans
# must not change between rounds.
_QUIET = """
DO $$ DECLARE name regclass; BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND pg_get_userbyid(relowner) = user
        AND relnamespace::regnamespace::text ~ '^(public|jobs|t_)'
    LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name); END LOOP;
END $$
"""
_IN_USE = """
UPDATE api_keys SET last_used_at = now() + interval '2 hours'
WHERE last_used_at IS NULL OR last_used_at < now() + interval '1 hour'
"""


@dataclass(frozen=True)
class Tenant:
    """A tenant as the load knows it. Each app has a key of its own: both note a key's use."""

    id: str
    number: str
    keys: dict[str, str]


def populate(settings: Settings, postgres: Postgres, count: int) -> list[Tenant]:
    """Make `count` tenants through the product's own services."""
    providers.use(Carriers(settings))
    deployment.use(settings)
    database = db.use(Database(postgres.web_dsn, pool_size=1))
    with db.patience(60):
        made = [_tenant(settings, index) for index in range(count)]
    database.close()
    postgres.run(_QUIET)
    postgres.run("ANALYZE")
    return made


def note_use(postgres: Postgres) -> None:
    """Let no key's use be due for noting in the next round: now and then, it would hit one app.

    Not by a new row for each key before each round: the round would then tidy up after that.
    """
    postgres.run(_IN_USE)


def _tenant(settings: Settings, index: int) -> Tenant:
    with public() as session:
        tenant_id = tenants.create(session, name=f"Tenant {index}").id
        keys = {app: _key(settings, session, tenant_id) for app in ("vca", "by_hand")}
    first = _FIRST_NUMBER + index * NUMBERS
    with enter(TenantRef(tenant_id)) as session:
        # The calls of a run are not hung up.
        settings_of_tenant.change(session, limits={"concurrent_calls": 1_000_000})
        ai_profiles.create(
            session,
            name="Reception",
            role="receptionist",
            system_prompt="You answer the telephone of a small firm. Be brief and kind.",
            greeting=f"Hello, you have reached tenant {index}. How can I help you?",
            language="en-GB",
        )
        for line in range(NUMBERS):
            number = f"+{first + line}"
            phone_numbers.add(session, terms="open", did_number=number, label=f"Line {line}")
    return Tenant(str(tenant_id), f"+{first}", keys)


def _key(settings: Settings, session: object, tenant_id: UUID) -> str:
    _, key = api_keys.create(
        session,  # type: ignore[arg-type] # a session
        name="bench",
        pepper=settings.peppers[0],
        tenant_id=tenant_id,
    )
    return key
