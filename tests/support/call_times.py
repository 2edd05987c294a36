"""Let calls have begun earlier."""

from tests.support.factories import Factory, Tenant


def age_calls(world: Factory, tenant: Tenant, seconds: float) -> None:
    """Move all calls of the tenant, with their events so far, into the past."""
    age = f"interval '{seconds} s'"
    world.sql(
        tenant,
        f"UPDATE calls SET created_at = created_at - {age}, started_at = started_at - {age},"
        f" answered_at = answered_at - {age}",
    )
    world.sql(tenant, f"UPDATE call_events SET timestamp = timestamp - {age}")
