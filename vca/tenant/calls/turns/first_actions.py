"""The first actions of an inbound call: a greeting, a sentence of the tenant, or a forward."""

from collections.abc import Mapping
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from vca.conversation.types import CallFacts
from vca.kit import json
from vca.services import Services
from vca.telephony.types import HangUp, Reject, Say, TakeVoicemail
from vca.tenant.calls.core import outbound_legs
from vca.tenant.calls.core.call_profile import CallProfile, profile_from_fields
from vca.tenant.calls.core.call_types import FlowAction, ForwardOrder, InboundCall
from vca.tenant.calls.routing.number_config import NumberConfig
from vca.tenant.calls.routing.routing_rules import Route
from vca.tenant.calls.turns import conversation_inputs, greeting
from vca.tenant.settings.dialling import DiallingRefused

# The tenant's sentence for each end reason. Any other end reason uses the sentence `closed`.
_SENTENCE_NAMES = {
    "concurrency_limit": "over_limit",
    "token_limit": "over_limit",
    "spend_cap": "over_limit",
    "tenant_suspended": "suspended",
    "declined": "fallback",
    "model_error": "fallback",
}
# End reasons after which the caller is forwarded to the fallback number, if there is one.
_FALLBACK_END_REASONS = ("concurrency_limit", "token_limit", "spend_cap", "model_error")


def first_actions(
    session: Session,
    call: InboundCall,
    config: NumberConfig,
    route: Route,
    call_id: UUID,
    variables: Mapping[str, str],
    *,
    services: Services,
    repeated: bool = False,
) -> tuple[FlowAction, ...]:
    """Return the first actions of a call with this route.

    `repeated`: the carrier repeats the request, so a forward is not counted again.
    """
    if route.decision == "agent":
        return greeting.build_greeting(
            _answering_profile(call, config),
            facts=_call_facts(call, config, variables),
            texts=config.texts,
            now=call.moment.astimezone(ZoneInfo(config.time_zone)),
        )[1]
    sentence = _say_sentence(config, _SENTENCE_NAMES.get(route.end_reason or "", "closed"))
    match route.decision:
        case "forward":
            forward_actions = _forward_actions(
                session, call, route.forward_to, call_id, repeated=repeated, services=services
            )
            return forward_actions or (_say_sentence(config, "fallback"), HangUp())
        case "voicemail":
            return sentence, TakeVoicemail()
        case "closed":
            return sentence, HangUp()
        case _ if route.rejected_by_webhook:
            return (Reject(),)
        case _ if route.end_reason in _FALLBACK_END_REASONS:
            forward_actions = _forward_actions(
                session, call, config.fallback_number, call_id, repeated=repeated, services=services
            )
            return sentence, *(forward_actions or (HangUp(),))
        case _ if route.end_reason in _SENTENCE_NAMES:
            return sentence, HangUp()
        case _:
            return (Reject(),)


def _say_sentence(config: NumberConfig, name: str) -> Say:
    """Return the tenant's sentence, in the language and voice of the number's profile."""
    return Say(config.texts.sentence(name, config.language), config.language, config.voice)


def _answering_profile(call: InboundCall, config: NumberConfig) -> CallProfile:
    if call.simulation is not None and call.simulation.profile is not None:
        return call.simulation.profile.profile
    return profile_from_fields(vars(config))


def _call_facts(call: InboundCall, config: NumberConfig, variables: Mapping[str, str]) -> CallFacts:
    """Return what the prompt may use of a call that is not recorded yet."""
    stored_hours = config.tenant_hours if config.number_hours is None else config.number_hours
    return CallFacts(
        call.metadata.caller_number,
        call.metadata.called_number,
        call.moment,
        variables={**config.variables, **variables},
        hours=conversation_inputs.to_opening_hours(
            None if stored_hours is None else json.dumps(stored_hours),
            time_zone=config.time_zone,
            moment=call.moment,
        ),
    )


def _forward_actions(
    session: Session,
    call: InboundCall,
    number: str | None,
    call_id: UUID,
    *,
    services: Services,
    repeated: bool,
) -> tuple[FlowAction, ...]:
    """Forward to the number if there is one and it may be dialled. A simulation dials nobody.

    `repeated`: the first decision stands and is not counted twice.
    """
    if number is None:
        return ()
    if repeated and not call.simulated:
        already_dialled = outbound_legs.was_dialled(session, number, call_id=call_id)
        return (ForwardOrder(number),) if already_dialled else ()
    try:
        outbound_legs.authorise_leg(
            session,
            number,
            kind="forward",
            call_id=call_id,
            from_number=call.metadata.called_number,
            simulated=call.simulated,
            services=services,
        )
    except DiallingRefused:
        return ()
    return (ForwardOrder(number),)
