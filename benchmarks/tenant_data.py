"""The tenants of a run: each with ten numbers, a profile, and a key for each of the two apps."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from benchmarks.postgres import BenchmarkDatabase
from vca.app import create_services
from vca.kit import db
from vca.registry.api_keys import service as api_keys
from vca.registry.number_registry import service as number_registry
from vca.registry.tenants import service as tenants
from vca.services import Services
from vca.settings import Settings
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.settings import service as settings_of_tenant

NUMBERS_PER_TENANT = 10
_FIRST_NUMBER = 442_070_000_000
# Autovacuum would affect rounds at random and could change query plans between them.
_DISABLE_AUTOVACUUM = """
DO $$ DECLARE name regclass; BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND pg_get_userbyid(relowner) = user
        AND relnamespace::regnamespace::text ~ '^(public|jobs|t_)'
    LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name); END LOOP;
END $$
"""
_MARK_KEYS_USED = """
UPDATE api_keys SET last_used_at = now() + interval '2 hours'
WHERE last_used_at IS NULL OR last_used_at < now() + interval '1 hour'
"""


@dataclass(frozen=True)
class BenchmarkTenant:
    """A tenant of the benchmark.

    Each app has its own key, because both record a key's use.
    """

    id: str
    number: str
    api_keys: dict[str, str]


def create_tenants(
    settings: Settings,
    postgres: BenchmarkDatabase,
    count: int,
    **tenant_settings: Any,
) -> list[BenchmarkTenant]:
    """Create `count` tenants with these settings through the product's own services."""
    services = create_services(settings)
    services = replace(services, database=services.database.with_dsn(postgres.web_dsn, pool_size=1))
    with db.statement_timeout_scope(60):
        new_tenants = [
            _create_tenant(settings, index, tenant_settings, services=services)
            for index in range(count)
        ]
    services.database.close()
    postgres.execute(_DISABLE_AUTOVACUUM)
    postgres.execute("ANALYZE")
    return new_tenants


def mark_keys_used(postgres: BenchmarkDatabase) -> None:
    """Mark all keys as recently used, so that no app has to record a use in the next round.

    A key's use is recorded only now and then, which would hit one app by chance. This is one update
    and not a new row for each key, because the round would then vacuum afterwards.
    """
    postgres.execute(_MARK_KEYS_USED)


def _create_tenant(
    settings: Settings, index: int, tenant_settings: dict[str, Any], *, services: Services
) -> BenchmarkTenant:
    first_number = _FIRST_NUMBER + index * NUMBERS_PER_TENANT
    numbers = [f"+{first_number + position}" for position in range(NUMBERS_PER_TENANT)]
    with public_session(database=services.database) as session:
        tenant_id = tenants.create(session, name=f"Tenant {index}").id
        keys = {app: _create_key(settings, session, tenant_id) for app in ("vca", "by_hand")}
        for number in numbers:
            number_registry.permit_claim(session, number=number, tenant_id=tenant_id, policy="open")
    with tenant_session(TenantRef(tenant_id), database=services.database) as session:
        # The benchmark never hangs up its calls.
        settings_of_tenant.change(
            session, limits={"concurrent_calls": 1_000_000}, **tenant_settings, services=services
        )
        ai_profiles.create(
            session,
            name="Reception",
            role="receptionist",
            system_prompt="You answer the telephone of a small firm. Be brief and kind.",
            greeting=f"Hello, you have reached tenant {index}. How can I help you?",
            language="en-GB",
            services=services,
        )
        for position, number in enumerate(numbers):
            phone_numbers.add(
                session, did_number=number, label=f"Line {position}", services=services
            )
    return BenchmarkTenant(str(tenant_id), f"+{first_number}", keys)


def _create_key(settings: Settings, session: object, tenant_id: UUID) -> str:
    _, key = api_keys.create(
        session,  # type: ignore[arg-type] # is a session
        name="bench",
        pepper=settings.peppers[0],
        tenant_id=tenant_id,
    )
    return key
