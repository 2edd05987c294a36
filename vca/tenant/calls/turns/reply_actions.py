"""Apply the actions of an agent's reply: messages, transfers, the fallback number and hang-ups."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from vca.conversation import action_phrases, speech_text
from vca.conversation import types as agent_actions
from vca.conversation.action_phrases import ActionResult
from vca.conversation.redaction import Redaction
from vca.conversation.types import Reply
from vca.observability import log, metrics
from vca.services import Services
from vca.telephony.types import HangUp
from vca.tenant.calls.core import outbound_legs
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_types import CallRef, FlowAction, ForwardOrder
from vca.tenant.calls.turns import transfers
from vca.tenant.messages import service as messages
from vca.tenant.settings.dialling import DiallingRefused


@dataclass(frozen=True)
class AppliedActions:
    """What the agent's actions led to.

    End the call with `end_reason`, if it is set, once the turn is stored: the end of a call reads
    its turns.
    """

    results: Sequence[ActionResult]
    carrier_actions: tuple[FlowAction, ...]
    end_reason: str | None = None
    end_detail: str | None = None


def apply_actions(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    actions: Sequence[agent_actions.Action],
    *,
    services: Services,
    redaction: Redaction,
    now: datetime,
    to_fallback: bool,
) -> AppliedActions:
    """Apply the actions: messages first, then the one action that affects the call.

    `to_fallback` forwards a caller whose call the agent ends to the number's fallback, if there is
    one. The caller of this function locks the call's row.
    """
    results: list[ActionResult] = []
    for action in actions:
        match action:
            case agent_actions.TakeMessage():
                # The caller of a replay left the message in the original call.
                if call_context.simulation.replay_of is None:
                    _store_message(
                        session,
                        ref,
                        call_context,
                        redaction.redact_value(asdict(action)),
                        services=services,
                    )
                results.append(ActionResult(action))
            case agent_actions.Transfer():
                return _start_transfer(
                    session, ref, call_context, action, results, now=now, services=services
                )
            case agent_actions.TransferToFallback():
                number = _authorise_fallback(session, ref, call_context, services=services)
                results.append(ActionResult(action, number is not None))
                end_reason = "agent_hangup" if number is None else "transferred"
                return AppliedActions(results, (_end_action(number),), end_reason)
            case agent_actions.HangUp():
                number = (
                    _authorise_fallback(session, ref, call_context, services=services)
                    if to_fallback
                    else None
                )
                results.append(ActionResult(action))
                end = (action.end_reason, action.end_detail)
                return AppliedActions(results, (_end_action(number),), *end)
    return AppliedActions(results, (call_context.agent.listen(),))


def phrases_after_actions(call_context: CallContext, reply: Reply, applied: AppliedActions) -> str:
    """Return what the agent says about its actions now that they are done, or have failed."""
    keys = action_phrases.select_phrases(applied.results, is_silent=reply.is_silent)
    if not keys:
        return ""
    language = call_context.agent.language
    return speech_text.join_chunks(call_context.texts.phrase(key, language) for key in keys)


def report_refused_tools(ref: CallRef, reply: Reply) -> None:
    """Log and count the tool calls of the reply that were refused."""
    for refused_tool in reply.refused_tools:
        metrics.TOOLS_REFUSED.inc(reason=refused_tool.reason)
        # Not the name: a model may write there what the caller said.
        log.get_logger().warning(
            "call.tool_refused", call_id=str(ref.call_id), reason=refused_tool.reason
        )


def _store_message(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    message: dict[str, Any],
    *,
    services: Services,
) -> None:
    messages.create(
        session,
        call_id=ref.call_id,
        kind="message",
        caller_number=call_context.caller_number,
        callback_number=message["number"],
        name=message["name"],
        reason=message["reason"],
        simulated=call_context.simulated,
        services=services,
    )


def _start_transfer(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    action: agent_actions.Transfer,
    results: Sequence[ActionResult],
    *,
    services: Services,
    now: datetime,
) -> AppliedActions:
    """Start the transfer; if the target may not be dialled, the agent says so and listens."""
    try:
        carrier_action: FlowAction = transfers.start_transfer(
            session, ref, call_context, target=action.target, now=now, services=services
        )
    except DiallingRefused:
        listen_action = call_context.agent.listen()
        return AppliedActions([*results, ActionResult(action, is_done=False)], (listen_action,))
    return AppliedActions([*results, ActionResult(action)], (carrier_action,))


def _authorise_fallback(
    session: Session, ref: CallRef, call_context: CallContext, *, services: Services
) -> str | None:
    """Return the number's fallback if there is one and it may be dialled."""
    number = call_context.fallback_number
    if number is None:
        return None
    try:
        outbound_legs.authorise_leg(
            session,
            number,
            kind="forward",
            call_id=ref.call_id,
            from_number=call_context.tenant_number,
            simulated=call_context.simulated,
            services=services,
        )
    except DiallingRefused:
        return None
    return number


def _end_action(number: str | None) -> FlowAction:
    return HangUp() if number is None else ForwardOrder(number)
