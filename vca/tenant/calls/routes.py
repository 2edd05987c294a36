"""Routes for calls, simulations and routing under `/tenants/{tenant_id}`."""

from typing import Any
from uuid import UUID

from flask import g, request

from vca.kit import clock
from vca.kit.web import Blueprint, PageQuery, access, pagination, sse
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.services import current_services
from vca.tenant.calls import service
from vca.tenant.calls.control import call_control, outbound_calls
from vca.tenant.calls.core.serializers import PlacedCall
from vca.tenant.calls.schemas import (
    CallEventSchema,
    CallQuery,
    CallSchema,
    ExplainSchema,
    KeysSchema,
    NewCallSchema,
    RouteSchema,
    TransferSchema,
    TurnSchema,
    WordsSchema,
)
from vca.tenant.calls.simulation import replay, simulated_calls
from vca.tenant.calls.simulation.simulation_requests import SimulationRequest
from vca.tenant.calls.simulation_schemas import (
    ReplayedSchema,
    ReplaySchema,
    SimulatedSchema,
    SimulatedTurnSchema,
    SimulationSchema,
    SpeechSchema,
    TransferOutcomeSchema,
)

blp = Blueprint("calls", __name__, description="Calls of a tenant, including simulations.")

TENANT_PATH = "/api/tenants/<uuid:tenant_id>"
CALL_PATH = f"{TENANT_PATH}/calls/<uuid:call_id>"
SIMULATED_TURN_CONTENT = {
    "application/json": {"schema": SimulatedTurnSchema},
    sse.MIME_TYPE: sse.openapi_content(
        {
            "clause": {"text": "We are open until six."},
            "reply": {
                "status": "in_progress",
                "reply": "We are open until six.",
                "actions": [],
                "end_reason": None,
            },
        }
    ),
}
# Enough for a conversation of about twenty turns that each wait for a model.
REPLAY_BUDGET_S = 110.0


@blp.route(f"{TENANT_PATH}/calls", methods=["GET"])
@blp.arguments(CallQuery, location="query")
@blp.response(200, CallSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_calls(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List calls

    The newest calls come first. Without the scope `content`, `summary`, `data` and `metadata` are
    null, and `content_withheld` is true.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_calls(request_session(), page=page, **query), query
    )


@blp.route(f"{TENANT_PATH}/calls", methods=["POST"])
@blp.arguments(NewCallSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def place_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Place an outbound call

    The number is dialled by a background job, exactly once, and an AI profile talks to the person
    who answers. The call's `status` shows the result. Send an `Idempotency-Key` to repeat a request
    safely. Returns 409 `dialling-refused` if the tenant's `dial_policy` denies the number, and 409
    `home-country-needed` if the dialling number belongs to no country and the settings do not say
    which countries it may dial. A profile that does not answer the dialling number is refused as
    when the number gets it: with `carrier-cannot` for what the carrier lacks, and with 400 for a
    transfer target that the number may not dial. The response shows the `metadata` that you sent;
    later responses show it to keys with the scope `content` only.
    """
    call = outbound_calls.place_call(request_session(), **body, services=current_services())
    return accepted_response(
        PlacedCall(call), pagination.public_url(f"/api/tenants/{tenant_id}/calls/{call.id}")
    )


@blp.route(CALL_PATH, methods=["GET"])
@blp.response(200, CallSchema)
@access("tenant", "read", transaction="tenant")
def get_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Get a call

    Without the scope `content`, `summary`, `data` and `metadata` are null, and `content_withheld`
    is true.
    """
    return service.get_call_for_api(request_session(), call_id=call_id)


@blp.route(f"{CALL_PATH}/events", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, CallEventSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_events(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List call events

    Events are in chronological order.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_events(request_session(), call_id=call_id, page=page), query
    )


@blp.route(f"{CALL_PATH}/turns", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, TurnSchema(many=True))
@access("tenant", "content", transaction="tenant")
def list_turns(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List call turns

    The transcript of the call, in order.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_turns(request_session(), call_id=call_id, page=page), query
    )


@blp.route(f"{CALL_PATH}/hangup", methods=["POST"])
@blp.response(200, CallSchema)
@access("tenant", "write")
def hang_up_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Hang up a call

    Returns 409 if the call has ended.
    """
    return call_control.hang_up(g.tenant, call_id=call_id, services=current_services())


@blp.route(f"{CALL_PATH}/transfer", methods=["POST"])
@blp.arguments(TransferSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", idempotency="answer")
def transfer_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Transfer a call

    The target is a named transfer target of the call's AI profile. If nobody answers there, the
    caller returns to the agent, who says so (`return`), takes a `message`, or forwards the caller
    to the number's `fallback`.
    """
    return call_control.transfer(g.tenant, services=current_services(), call_id=call_id, **body)


@blp.route(f"{CALL_PATH}/say", methods=["POST"])
@blp.arguments(WordsSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", idempotency="answer")
def say_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Say a text in a call

    The agent of the live call says the text at once.
    """
    return call_control.say(
        g.tenant, services=current_services(), call_id=call_id, text=body["text"]
    )


@blp.route(f"{CALL_PATH}/dtmf", methods=["POST"])
@blp.arguments(KeysSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", idempotency="answer")
def press_keys_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Send DTMF tones in a call

    The other party hears the tones; then the agent listens again. The keys are not stored. Returns
    409 `carrier-cannot` if the carrier cannot send tones.
    """
    return call_control.send_keys(
        g.tenant, services=current_services(), call_id=call_id, keys=body["digits"]
    )


@blp.route(f"{CALL_PATH}/replay", methods=["POST"])
@blp.arguments(ReplaySchema)
@blp.response(200, ReplayedSchema)
@access(
    "tenant", "write", additional_scope="content", idempotency="answer", budget_s=REPLAY_BUDGET_S
)
def replay_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Replay a call

    Repeats the caller's utterances of a finished call to another AI profile or version, in a
    simulated call that is stored, dials nobody and leaves no message. Returns both calls side by
    side. Transfers count as not answered. Returns 409 if the call has not ended, or if the tenant's
    simulated tokens of the day are used up (`limit-reached`, `simulated_tokens_per_day`). If they
    are used up during the replay, it stops early.
    """
    return replay.replay_call(
        g.tenant,
        carriers=current_services().carriers,
        services=current_services(),
        call_id=call_id,
        **body,
    )


@blp.route(f"{TENANT_PATH}/simulations", methods=["POST"])
@blp.arguments(SimulationSchema, example={"to": "+14155550100", "from": "+14155550123"})
@blp.response(201, SimulatedSchema)
@access("tenant", "write", idempotency="answer")
def simulate_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create a simulation

    Plays what a caller would get: an agent, a sentence, voicemail or a forward, with real routing,
    AI profile, model and call record. The call is marked `simulated` and dials nobody. Returns 404
    for a called number that is not the tenant's, and 409 if the number or the tenant is not in
    service, or if the tenant's simulated tokens of the day are used up (`limit-reached`,
    `simulated_tokens_per_day`). A simulation without a turn for some minutes ends as `abandoned`.
    Simulated calls are deleted after 30 days, or the tenant's shorter retention.
    """
    return simulated_calls.start_simulation(
        g.tenant,
        carriers=current_services().carriers,
        services=current_services(),
        request=SimulationRequest(**body),
    )


@blp.route(f"{TENANT_PATH}/simulations/<uuid:call_id>/turns", methods=["POST"])
@blp.arguments(SpeechSchema, example={"text": "I need an appointment."})
@blp.response(200, SimulatedTurnSchema)
@blp.doc(
    responses={
        "200": {
            "description": "The reply, whole or streamed.",
            "content": SIMULATED_TURN_CONTENT,
        }
    }
)
@access("tenant", "write")
def say_in_simulation(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Create a simulation turn

    Says a text or presses keys in a simulated call and returns the agent's reply. Returns 409 if
    the call has ended (`call-ended`), is being transferred (`call-not-in-progress`), or if the
    tenant's simulated tokens of the day are used up (`limit-reached`, `simulated_tokens_per_day`).
    A turn that has begun is completed and counts. With
    `Accept: text/event-stream` the reply is streamed: one `clause` event per part of the reply,
    then a `reply` event with the whole reply. Errors before the first event are problem documents;
    later ones are `error` events that contain one.
    """
    arguments: dict[str, Any] = {
        "carriers": current_services().carriers,
        "call_id": call_id,
    }
    if sse.prefers_event_stream(request):
        return sse.stream_response(
            simulated_calls.stream_turn(g.tenant, **arguments, **body, services=current_services())
        )
    return simulated_calls.take_turn(g.tenant, **arguments, **body, services=current_services())


@blp.route(f"{TENANT_PATH}/simulations/<uuid:call_id>/outcome", methods=["POST"])
@blp.arguments(TransferOutcomeSchema)
@blp.response(200, SimulatedTurnSchema)
@access("tenant", "write")
def settle_simulated_transfer(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Settle a transfer in a simulation

    Ends the transfer of a simulated call whose `status` is `transferring`, and returns what the
    caller gets then. Returns 409 if the call is not being transferred (`call-not-transferring`),
    also for a transfer that is already settled.
    """
    return simulated_calls.settle_transfer(
        g.tenant,
        carriers=current_services().carriers,
        services=current_services(),
        call_id=call_id,
        **body,
    )


@blp.route(f"{TENANT_PATH}/routing/explain", methods=["POST"])
@blp.arguments(ExplainSchema)
@blp.response(200, RouteSchema)
@access("tenant", "read", transaction="tenant")
def explain_route(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Explain a route

    Returns every rule that is evaluated for a call to the number, with its result and reason. No
    call is made.
    """
    moment = body["at"] or clock.now()
    return service.explain_route(request_session(), to=body["to"], moment=moment).as_dict()
