"""`T/calls`, `T/simulations` and `T/routing/explain`."""

from typing import Any
from uuid import UUID

from flask import g, request

from vca.kit import clock
from vca.kit.web import Blueprint, PageQuery, access, pagination, sse
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.telephony import providers
from vca.tenant.calls import service
from vca.tenant.calls.control import call_control, outbound_calls
from vca.tenant.calls.core import call_services
from vca.tenant.calls.schemas import (
    CallEventSchema,
    CallQuery,
    CallSchema,
    ExplainSchema,
    KeysSchema,
    NewCallSchema,
    ReplayedSchema,
    ReplaySchema,
    RouteSchema,
    SimulatedSchema,
    SimulatedTurnSchema,
    SimulationSchema,
    SpeechSchema,
    TransferSchema,
    TurnSchema,
    WordsSchema,
)
from vca.tenant.calls.simulation import replay, simulated_calls

blp = Blueprint("calls", __name__, description="A tenant's calls, simulated ones included.")

TENANT_PATH = "/api/tenants/<uuid:tenant_id>"
CALL_PATH = f"{TENANT_PATH}/calls/<uuid:call_id>"
SIMULATED_TURN_CONTENT = {
    "application/json": {"schema": SimulatedTurnSchema},
    sse.MIME_TYPE: sse.openapi_content(
        {
            "clause": {"text": "We are open until six."},
            "reply": {"status": "in_progress", "reply": "We are open until six.", "actions": []},
        }
    ),
}
# A conversation of some twenty turns, all of which wait for a model.
REPLAY_BUDGET_S = 110.0
TOO_MANY_STREAMS = (
    "This process streams and replays as many as it may, or a rate limit was met (`rate-limited`, "
    "`limit` names it); see `Retry-After`."
)


@blp.route(f"{TENANT_PATH}/calls", methods=["GET"])
@blp.arguments(CallQuery, location="query")
@blp.response(200, CallSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_calls(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List a tenant's calls, newest first"""
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_calls(request_session(), page=page, **query), query
    )


@blp.route(f"{TENANT_PATH}/calls", methods=["POST"])
@blp.arguments(NewCallSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def place_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Have a number called, and an AI profile talk to whoever answers

    Accepted: it is dialled at once, by a job, and exactly once. What came of it is the call's
    `status`. Send an `Idempotency-Key` so that a request of yours that got lost can be repeated.
    """
    call = outbound_calls.place_call(request_session(), **body)
    return accepted_response(
        call, pagination.public_url(f"/api/tenants/{tenant_id}/calls/{call.id}")
    )


@blp.route(CALL_PATH, methods=["GET"])
@blp.response(200, CallSchema)
@access("tenant", "read", transaction="tenant")
def get_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Show a call"""
    return service.get_call_for_api(request_session(), call_id=call_id)


@blp.route(f"{CALL_PATH}/events", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, CallEventSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_events(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List what happened to a call, in order"""
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_events(request_session(), call_id=call_id, page=page), query
    )


@blp.route(f"{CALL_PATH}/turns", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, TurnSchema(many=True))
@access("tenant", "content", transaction="tenant")
def list_turns(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List what was said in a call, in order"""
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_turns(request_session(), call_id=call_id, page=page), query
    )


@blp.route(f"{CALL_PATH}/hangup", methods=["POST"])
@blp.response(200, CallSchema)
@access("tenant", "write")
def hang_up_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Hang up a live call

    One that has ended is 409.
    """
    return call_control.hang_up(g.tenant, call_id=call_id)


@blp.route(f"{CALL_PATH}/transfer", methods=["POST"])
@blp.arguments(TransferSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", idempotency="answer")
def transfer_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Transfer a live call to a named target

    The target is one of the call's AI profile. If nobody answers there the caller is back with the
    agent, who says so (`return`), takes a `message`, or sends him to the number's `fallback`.
    """
    return call_control.transfer(
        g.tenant, services=call_services.current_services(), call_id=call_id, **body
    )


@blp.route(f"{CALL_PATH}/say", methods=["POST"])
@blp.arguments(WordsSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", idempotency="answer")
def say_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Have the agent of a live call say something now"""
    return call_control.say(
        g.tenant, services=call_services.current_services(), call_id=call_id, text=body["text"]
    )


@blp.route(f"{CALL_PATH}/dtmf", methods=["POST"])
@blp.arguments(KeysSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", idempotency="answer")
def press_keys_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Press keys on the line of a live call

    The other end hears tones; then the agent listens again. The keys are kept nowhere. A carrier
    that cannot is 409 `carrier-cannot`.
    """
    return call_control.send_keys(
        g.tenant, services=call_services.current_services(), call_id=call_id, keys=body["digits"]
    )


@blp.route(f"{CALL_PATH}/replay", methods=["POST"])
@blp.arguments(ReplaySchema)
@blp.response(200, ReplayedSchema)
@blp.alt_response(429, description=TOO_MANY_STREAMS)
@access(
    "tenant", "write", additional_scope="content", idempotency="answer", budget_s=REPLAY_BUDGET_S
)
def replay_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Replay a finished call with another AI profile, or another version of one

    What its caller said is said again, in a simulated call that dials nobody, leaves no message and
    is kept; both calls are answered side by side. A transfer counts as not answered. One that still
    goes on is 409.
    """
    return replay.replay_call(
        g.tenant,
        carriers=providers.current_carriers(),
        services=call_services.current_services(),
        call_id=call_id,
        **body,
    )


@blp.route(f"{TENANT_PATH}/simulations", methods=["POST"])
@blp.arguments(SimulationSchema)
@blp.response(201, SimulatedSchema)
@access("tenant", "write", idempotency="answer")
def simulate_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Ring one of the tenant's numbers without a telephone

    Real routing, profile, model and record, through the fake carrier; marked `simulated`. A number
    that no agent would answer is 409 with the reason.
    """
    ref, call_output = service.start_simulation(
        g.tenant,
        carriers=providers.current_carriers(),
        services=call_services.current_services(),
        **body,
    )
    return {"call_id": ref.call_id, "status": "in_progress", "reply": call_output.text}


@blp.route(f"{TENANT_PATH}/simulations/<uuid:call_id>/turns", methods=["POST"])
@blp.arguments(SpeechSchema)
@blp.response(200, SimulatedTurnSchema)
@blp.doc(
    responses={
        "200": {
            "description": "The answer, or its words as they come.",
            "content": SIMULATED_TURN_CONTENT,
        }
    }
)
@blp.alt_response(429, description=TOO_MANY_STREAMS)
@access("tenant", "write")
def say_in_simulation(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Speak into a simulated call, and hear the agent's answer

    With `Accept: text/event-stream` the words come as the agent says them: a `clause` event for
    each part of its answer, then `reply` with what the plain answer holds. What fails before the
    first of them is a problem document; later it is an `error` event that holds one.
    """
    arguments: dict[str, Any] = {
        "carriers": providers.current_carriers(),
        "desk": call_services.current_services(),
        "call_id": call_id,
    }
    if sse.prefers_event_stream(request):
        return sse.stream_response(simulated_calls.stream_turn(g.tenant, **arguments, **body))
    return simulated_calls.build_reply(*service.say_in_simulation(g.tenant, **arguments, **body))


@blp.route(f"{TENANT_PATH}/routing/explain", methods=["POST"])
@blp.arguments(ExplainSchema)
@blp.response(200, RouteSchema)
@access("tenant", "read", transaction="tenant")
def explain_route(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Explain how a call would be answered

    Every rule that is tried and why; no call is made.
    """
    at = body["at"] or clock.now()
    return service.explain_route(request_session(), tenant=g.tenant, to=body["to"], at=at).as_dict()
