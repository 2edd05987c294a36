"""How many of each resource the keys of one owner can create: the table, and how it is enforced.

The owner is a tenant, or the platform for its own keys and webhooks. Each operation that creates
something has a cap in `CAPS` or a reason in `UNCAPPED`; a test compares both with the OpenAPI
document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.errors import Conflict
from vca.tenancy.session import SESSION_TENANT


class LimitReached(Conflict):
    """The owner has the maximum of a resource, which the member `limit` names."""

    code = "limit-reached"

    def __init__(self, name: str, limit: int, *, code: str | None = None) -> None:
        detail = f"The limit is reached ({name}: {limit})."
        super().__init__(detail, code=code, members={"limit": name})


@dataclass(frozen=True)
class Cap:
    """The maximum of one resource for each owner.

    `description` says what counts, after "At most 200". `operations` create the resource. `code` is
    the error's code where it is older than `limit-reached`.
    """

    name: str
    maximum: int
    description: str
    operations: tuple[str, ...]
    code: str | None = None


def _by_name(*caps: Cap) -> dict[str, Cap]:
    return {cap.name: cap for cap in caps}


CAPS: dict[str, Cap] = _by_name(
    Cap("ai_profiles", 200, "AI profiles", ("create_profile",)),
    Cap(
        "numbers",
        1_000,
        "phone numbers, unless the platform has set another limit",
        ("add_number",),
    ),
    Cap(
        "telephony_accounts",
        20,
        "telephony accounts",
        ("add_telephony_account",),
        code="too-many-accounts",
    ),
    Cap(
        "webhooks",
        20,
        "webhooks",
        ("create_webhook", "create_operator_webhook"),
        code="too-many-webhooks",
    ),
    Cap(
        "test_events",
        200,
        "test events of each webhook in 24 hours",
        ("test_webhook", "test_operator_webhook"),
    ),
    Cap(
        "api_keys",
        100,
        "API keys that are neither revoked nor expired",
        ("create_tenant_key", "create_platform_key"),
    ),
    Cap(
        "api_keys_per_day",
        300,
        "API keys created in 24 hours",
        ("create_tenant_key", "create_platform_key"),
    ),
    Cap("simulations", 20, "open simulations", ("simulate_call",)),
    Cap(
        "simulations_per_day",
        2_000,
        "simulations and replays in 24 hours",
        ("simulate_call", "replay_call"),
    ),
    Cap("exports", 5, "exports that are not finished", ("export_person",)),
    Cap("stored_exports", 100, "exports whose file is stored", ("export_person",)),
    Cap("erasures", 100, "erasures that are not finished", ("erase_person",)),
    Cap("idempotency_keys", 100_000, "requests with an Idempotency-Key in 24 hours", ()),
)
# The values of the member `limit`. The last two do not count stored resources.
LIMIT_NAMES = (*CAPS, "concurrent_calls", "simulated_tokens_per_day")

_NOTHING_STORED = "It stores nothing."
_LIVE_CALL = "It acts on a live call, and calls are limited by `concurrent_calls`."
_OPERATOR = "Only platform keys can create it, and the deployment has as many as it needs."
_REDELIVERY = "It sends stored deliveries again, which keep their last attempts only."
# Why an operation with POST has no cap.
UNCAPPED: Mapping[str, str] = {
    "create_tenant": _OPERATOR,
    "assign_did": _OPERATOR,
    "register_number": "It registers an existing number again; an earlier job then does nothing.",
    "check_number": _NOTHING_STORED,
    "release_previous_carrier": "It changes an existing number.",
    "set_decision_webhook": "It changes an existing number, which has one decision webhook.",
    "create_webrtc_credential": "The carrier's token lasts an hour, and VCA stores nothing.",
    "place_call": "`concurrent_calls` and the dial policy's numbers a minute and a day limit it.",
    "hang_up_call": _LIVE_CALL,
    "transfer_call": _LIVE_CALL,
    "say_in_call": _LIVE_CALL,
    "press_keys_in_call": _LIVE_CALL,
    "say_in_simulation": "A turn of an agent uses `simulated_tokens_per_day`.",
    "settle_simulated_transfer": "It ends a transfer that a turn has begun.",
    "explain_route": _NOTHING_STORED,
    "rotate_webhook_secret": "It changes an existing webhook.",
    "rotate_operator_webhook_secret": "It changes an existing webhook.",
    "replay_delivery": _REDELIVERY,
    "replay_deliveries": _REDELIVERY,
    "replay_operator_delivery": _REDELIVERY,
    "replay_operator_deliveries": _REDELIVERY,
    "carrier_request": "Carriers send it, not keys.",
}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"


def require_capacity(
    session: Session,
    name: str,
    rows: Select[Any],
    *,
    owner: str = "",
    maximum: int | None = None,
    is_locked: bool = False,
) -> None:
    """Raise LimitReached if `rows`, which selects the existing ones, has its maximum.

    Until the caller's transaction ends, no other transaction of the owner passes for the same
    resource, so simultaneous creations are counted one by one. At most `maximum` rows are read, by
    default that of the table. `owner` identifies the owner where the session's tenant does not.
    `is_locked`: the caller holds a lock that each creation of this resource takes first.
    """
    cap = CAPS[name]
    limit = cap.maximum if maximum is None else maximum
    if not is_locked:
        tenant = session.info.get(SESSION_TENANT)
        lock_name = f"vca.cap {name} {tenant.id if tenant else 'platform'} {owner}"
        # Sent together with the query, which is a statement of its own and so sees what was
        # committed before the lock was granted.
        db.defer_statement(session.connection(), _LOCK, {"name": lock_name})
    # Looking for the last permitted row costs less than a count.
    last_permitted = rows.offset(max(0, limit - 1)).limit(1)
    if session.execute(last_permitted).first() is not None or limit == 0:
        raise LimitReached(name, limit, code=cap.code)
