"""Act on a live call: hang up, transfer, say a text or send DTMF tones.

No transaction is open during a request to the carrier. If the carrier refuses, the record is
reverted.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.audit import context
from vca.audit.context import AuditContext
from vca.kit import clock
from vca.kit.db import DatabaseFailure
from vca.kit.errors import Conflict
from vca.observability import log
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.types import Action, CallEvent, CallReply, SendKeys, Transfer
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.core import call_tokens, record, serializers, simulations, turn_records
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_transfer import OnFailure
from vca.tenant.calls.core.call_types import CallRef, account_of
from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.calls.core.watchdog import CHECK_JOB
from vca.tenant.calls.turns import call_flow, dial_orders, transfers
from vca.tenant.phone_numbers.provider_compatibility import CarrierLacksCapability
from vca.tenant.settings.dialling import DiallingRefused
from vca.tenant.telephony_accounts import adapter_lookup

_MAX_CONCURRENT_HANGUPS = 16
_TENANTS_ON_CALL_SQL = text("SELECT tenant_id FROM jobs.tenants_awaiting(:task)")


class CallEnded(Conflict):
    """The call has ended."""

    code = "call-ended"

    def __init__(self) -> None:
        super().__init__("The call has ended.")


class CallNotInProgress(Conflict):
    """Nobody talks to the agent: the call still rings, or is being transferred."""

    code = "call-not-in-progress"

    def __init__(self, status: str) -> None:
        super().__init__(f"The call is {status}; it must be in_progress.")


class CarrierNotConfigured(Conflict):
    """The call's carrier is no longer configured."""

    code = "carrier-not-configured"

    def __init__(self) -> None:
        super().__init__("The call's carrier is not configured.")


@dataclass(frozen=True)
class HangUpSummary:
    """How many calls were ended, and how many could not be."""

    ended: int = 0
    failed: int = 0

    def __add__(self, other: "HangUpSummary") -> "HangUpSummary":
        return HangUpSummary(self.ended + other.ended, self.failed + other.failed)


def hang_up(tenant: TenantRef, *, services: Services, call_id: UUID) -> Any:
    """End a live call at its carrier, then in the record.

    Raises NotFound, CallEnded, and TelephonyError if the carrier fails. Then the call goes on.
    """
    with tenant_session(tenant, database=services.database) as session:
        call = record.get_call(session, call_id)
        adapter = adapter_lookup.adapter_for_call(session, account_of(call), services=services)
    if not call.live:
        raise CallEnded
    if adapter is not None and call.provider_call_id is not None:
        adapter.hang_up(call.provider_call_id)
    event = CallEvent("ENDED", call_id.hex, clock.now(), "api", end_reason="api_hangup")
    call_flow.apply_call_event(CallRef(tenant, call_id), event=event, services=services)
    return _load_call_for_api(tenant, call_id, services=services)


def transfer(
    tenant: TenantRef,
    *,
    services: Services,
    call_id: UUID,
    target: str,
    timeout_seconds: int,
    on_failure: OnFailure,
) -> Any:
    """Transfer a live call to a named target of its profile. It returns if nobody answers there.

    Raises NotFound, CallEnded, CallNotInProgress, UnknownTarget, DiallingRefused,
    CarrierNotConfigured, and TelephonyError if the carrier fails. Then the caller stays with the
    agent. In a simulation with a requested outcome, the transfer ends at once.
    """
    ref = CallRef(tenant, call_id)
    with tenant_session(tenant, database=services.database) as session:
        call_context = _lock_call_in_progress(session, ref)
        adapter = _require_adapter(session, call_context, services=services)
        order = transfers.start_transfer(
            session,
            ref,
            call_context,
            target=target,
            now=clock.now(),
            timeout_s=timeout_seconds,
            on_failure=on_failure,
            services=services,
        )
        turns = len(turn_records.list_turns(session, call_id))
    try:
        transfer_action = Transfer(
            dial_orders.permit_order(ref, order, services=services), order.timeout_s
        )
        _send_actions(adapter, services, ref, call_context, (transfer_action,), turns)
    except (TelephonyError, DiallingRefused) as error:
        status = "failed" if isinstance(error, DiallingRefused) else "carrier_error"
        with tenant_session(tenant, database=services.database) as session:
            transfers.revert_transfer(
                session, ref, record.lock_call_context(session, call_id), status=status
            )
        raise
    if (outcome := call_context.simulation.transfer_outcome) is not None:
        call_flow.finish_transfer(
            ref, leg_outcome=simulations.LEG_OUTCOMES[outcome], services=services
        )
    return _load_call_for_api(tenant, call_id, services=services)


def say(tenant: TenantRef, *, services: Services, call_id: UUID, text: str) -> Any:
    """Have the agent say a text now. The text is stored as a turn of the agent.

    Raises NotFound, CallEnded, CallNotInProgress, CarrierNotConfigured and TelephonyError. Then
    nothing was said.
    """
    ref = CallRef(tenant, call_id)
    with tenant_session(tenant, database=services.database) as session:
        call_context = _lock_call_in_progress(session, ref)
        adapter = _require_adapter(session, call_context, services=services)
        turns = len(turn_records.list_turns(session, call_id))
    profile = call_context.agent
    actions = (profile.say(text), profile.listen())
    _send_actions(adapter, services, ref, call_context, actions, turns + 1)
    with tenant_session(tenant, database=services.database) as session:
        record.lock_call_context(session, call_id)
        turn_records.insert_turn(
            session,
            call_id,
            sequence=len(turn_records.list_turns(session, call_id)) + 1,
            speaker="agent",
            text=profile.redaction.redact_text(text),
            started_at=clock.now(),
        )
    return _load_call_for_api(tenant, call_id, services=services)


def send_keys(tenant: TenantRef, *, services: Services, call_id: UUID, keys: str) -> Any:
    """Send DTMF tones to the other party; then the agent listens again.

    The keys may be a secret, so they are not stored. Raises NotFound, CallEnded, CallNotInProgress,
    CarrierNotConfigured, CarrierCannot and TelephonyError.
    """
    ref = CallRef(tenant, call_id)
    with tenant_session(tenant, database=services.database) as session:
        call_context = _lock_call_in_progress(session, ref)
        adapter = _require_adapter(session, call_context, services=services)
        turns = len(turn_records.list_turns(session, call_id))
    if not adapter.capabilities.send_keys:
        raise CarrierLacksCapability("The call's carrier cannot send DTMF tones.")
    actions = (SendKeys(keys), call_context.agent.listen())
    _send_actions(adapter, services, ref, call_context, actions, turns)
    with tenant_session(tenant, database=services.database) as session:
        context.record_change(session, "call", call_id)
    return _load_call_for_api(tenant, call_id, services=services)


def list_tenants_on_call(*, services: Services) -> Sequence[TenantRef]:
    """Return the tenants that have live calls, and few others, without opening their schemas."""
    with public_session(database=services.database) as session:
        return [
            TenantRef(row[0]) for row in session.execute(_TENANTS_ON_CALL_SQL, {"task": CHECK_JOB})
        ]


def list_live_calls(tenant: TenantRef, *, services: Services) -> Sequence[CallRef]:
    """Return the tenant's live calls, the oldest first."""
    with tenant_session(tenant, database=services.database) as session:
        live_call_ids = select(Call.id).where(text(LIVE_CONDITION)).order_by(Call.started_at)
        return [CallRef(tenant, call_id) for call_id in session.scalars(live_call_ids)]


def hang_up_all(tenants: Sequence[TenantRef], *, services: Services) -> HangUpSummary:
    """End all live calls of these tenants, many at a time, and count the carriers' failures."""
    list_calls = partial(list_live_calls, services=services)
    with ThreadPoolExecutor(_MAX_CONCURRENT_HANGUPS) as threads:
        calls = [ref for tenant_calls in threads.map(list_calls, tenants) for ref in tenant_calls]
        audit_context = context.current_context()  # new threads have none
        summaries = threads.map(
            lambda ref: _try_hang_up(ref, audit_context, services=services), calls
        )
        return sum(summaries, HangUpSummary())


def _try_hang_up(
    ref: CallRef, audit_context: AuditContext | None, *, services: Services
) -> HangUpSummary:
    try:
        with context.audit_scope(audit_context):
            hang_up(ref.tenant, call_id=ref.call_id, services=services)
    except CallEnded:
        return HangUpSummary()
    except (TelephonyError, DatabaseFailure) as error:
        log.get_logger().warning("call.not_hung_up", call_id=str(ref.call_id), exc_info=error)
        return HangUpSummary(failed=1)
    return HangUpSummary(ended=1)


def _send_actions(
    adapter: TelephonyAdapter,
    services: Services,
    ref: CallRef,
    call_context: CallContext,
    actions: tuple[Action, ...],
    turns: int,
) -> None:
    call_state = CallState(
        ref,
        turns,
        account=call_context.account,
        language=call_context.agent.language,
        provider_call_id=call_context.placed_call_id,
    )
    reply = CallReply(actions, call_tokens.sign_state(call_state, services=services))
    adapter.update_live_call(
        call_context.placed_call_id, reply, callback_url=services.callback_url(adapter.name)
    )


def _lock_call_in_progress(session: Session, ref: CallRef) -> CallContext:
    """Lock and return a call in progress; raise CallEnded or CallNotInProgress otherwise."""
    call_context = record.lock_call_context(session, ref.call_id)
    if call_context.has_ended:
        raise CallEnded
    if call_context.status != "in_progress" or call_context.profile is None:
        raise CallNotInProgress(call_context.status)
    return call_context


def _require_adapter(
    session: Session, call_context: CallContext, *, services: Services
) -> TelephonyAdapter:
    adapter = adapter_lookup.adapter_for_call(session, call_context.account, services=services)
    if adapter is None:
        raise CarrierNotConfigured
    return adapter


def _load_call_for_api(tenant: TenantRef, call_id: UUID, *, services: Services) -> Any:
    """Return the call with the status of its recording."""
    with tenant_session(tenant, database=services.database) as session:
        return serializers.add_recording_status(session, [record.get_call(session, call_id)])[0]
