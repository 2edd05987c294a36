"""`T/calls`, `T/simulations` and `T/routing/explain`."""

from typing import Any
from uuid import UUID

from flask import g, request

from vca.kit import clock
from vca.kit.web import Blueprint, PageQuery, access, events, pages
from vca.kit.web.blueprint import accepted
from vca.kit.web.context import session
from vca.telephony import providers
from vca.tenant.calls import control, desk, outbound, replay, service, simulations
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

blp = Blueprint("calls", __name__, description="A tenant's calls, simulated ones included.")

T = "/api/tenants/<uuid:tenant_id>"
ONE = f"{T}/calls/<uuid:call_id>"
SAID = {
    "application/json": {"schema": SimulatedTurnSchema},
    events.MIME_TYPE: events.described(
        {
            "clause": {"text": "We are open until six."},
            "reply": {"status": "in_progress", "reply": "We are open until six.", "actions": []},
        }
    ),
}
# A conversation of some twenty turns, all of which wait for a model.
REPLAY_BUDGET_S = 110.0
TOO_MANY = (
    "This process streams and replays as many as it may, or a rate limit was met (`rate-limited`, "
    "`limit` names it); see `Retry-After`."
)


@blp.route(f"{T}/calls", methods=["GET"])
@blp.arguments(CallQuery, location="query")
@blp.response(200, CallSchema(many=True))
@access("tenant", "read", opens="tenant")
def list_calls(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List a tenant's calls, newest first"""
    page = pages.requested(query)
    return pages.answer(service.list_page(session(), page=page, **query), query)


@blp.route(f"{T}/calls", methods=["POST"])
@blp.arguments(NewCallSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", opens="tenant", repeats="answer")
def place_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Have a number called, and an AI profile talk to whoever answers

    Accepted: it is dialled at once, by a job, and exactly once. What came of it is the call's
    `status`. Send an `Idempotency-Key` so that a request of yours that got lost can be repeated.
    """
    call = outbound.order(session(), **body)
    return accepted(call, pages.public_path(f"/api/tenants/{tenant_id}/calls/{call.id}"))


@blp.route(ONE, methods=["GET"])
@blp.response(200, CallSchema)
@access("tenant", "read", opens="tenant")
def get_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Show a call"""
    return service.get_shown(session(), call_id=call_id)


@blp.route(f"{ONE}/events", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, CallEventSchema(many=True))
@access("tenant", "read", opens="tenant")
def list_events(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List what happened to a call, in order"""
    page = pages.requested(query)
    return pages.answer(service.events_page(session(), call_id=call_id, page=page), query)


@blp.route(f"{ONE}/turns", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, TurnSchema(many=True))
@access("tenant", "content", opens="tenant")
def list_turns(query: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """List what was said in a call, in order"""
    page = pages.requested(query)
    return pages.answer(service.turns_page(session(), call_id=call_id, page=page), query)


@blp.route(f"{ONE}/hangup", methods=["POST"])
@blp.response(200, CallSchema)
@access("tenant", "write")
def hang_up_call(tenant_id: UUID, call_id: UUID) -> Any:
    """Hang up a live call

    One that has ended is 409.
    """
    return control.hang_up(g.tenant, call_id=call_id)


@blp.route(f"{ONE}/transfer", methods=["POST"])
@blp.arguments(TransferSchema)
@blp.response(202, CallSchema)
@access("tenant", "write", repeats="answer")
def transfer_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Transfer a live call to a named target

    The target is one of the call's AI profile. If nobody answers there the caller is back with the
    agent, who says so (`return`), takes a `message`, or sends him to the number's `fallback`.
    """
    return control.transfer(g.tenant, desk=desk.current(), call_id=call_id, **body)


@blp.route(f"{ONE}/say", methods=["POST"])
@blp.arguments(WordsSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", repeats="answer")
def say_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Have the agent of a live call say something now"""
    return control.say(g.tenant, desk=desk.current(), call_id=call_id, words=body["text"])


@blp.route(f"{ONE}/dtmf", methods=["POST"])
@blp.arguments(KeysSchema)
@blp.response(200, CallSchema)
@access("tenant", "write", repeats="answer")
def press_keys_in_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Press keys on the line of a live call

    The other end hears tones; then the agent listens again. The keys are kept nowhere. A carrier
    that cannot is 409 `carrier-cannot`.
    """
    return control.press(g.tenant, desk=desk.current(), call_id=call_id, keys=body["digits"])


@blp.route(f"{ONE}/replay", methods=["POST"])
@blp.arguments(ReplaySchema)
@blp.response(200, ReplayedSchema)
@blp.alt_response(429, description=TOO_MANY)
@access("tenant", "write", also="content", repeats="answer", budget_s=REPLAY_BUDGET_S)
def replay_call(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Replay a finished call with another AI profile, or another version of one

    What its caller said is said again, in a simulated call that dials nobody, leaves no message and
    is kept; both calls are answered side by side. A transfer counts as not answered. One that still
    goes on is 409.
    """
    return replay.replay(
        g.tenant, carriers=providers.current(), desk=desk.current(), call_id=call_id, **body
    )


@blp.route(f"{T}/simulations", methods=["POST"])
@blp.arguments(SimulationSchema)
@blp.response(201, SimulatedSchema)
@access("tenant", "write", repeats="answer")
def simulate_call(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Ring one of the tenant's numbers without a telephone

    Real routing, profile, model and record, through the fake carrier; marked `simulated`. A number
    that no agent would answer is 409 with the reason.
    """
    ref, heard = service.simulate(
        g.tenant, carriers=providers.current(), desk=desk.current(), **body
    )
    return {"call_id": ref.call_id, "status": "in_progress", "reply": heard.text}


@blp.route(f"{T}/simulations/<uuid:call_id>/turns", methods=["POST"])
@blp.arguments(SpeechSchema)
@blp.response(200, SimulatedTurnSchema)
@blp.doc(
    responses={"200": {"description": "The answer, or its words as they come.", "content": SAID}}
)
@blp.alt_response(429, description=TOO_MANY)
@access("tenant", "write")
def say_in_simulation(body: dict[str, Any], tenant_id: UUID, call_id: UUID) -> Any:
    """Speak into a simulated call, and hear the agent's answer

    With `Accept: text/event-stream` the words come as the agent says them: a `clause` event for
    each part of its answer, then `reply` with what the plain answer holds. What fails before the
    first of them is a problem document; later it is an `error` event that holds one.
    """
    line: dict[str, Any] = {
        "carriers": providers.current(),
        "desk": desk.current(),
        "call_id": call_id,
    }
    if events.wanted(request):
        return events.answer(simulations.stream(g.tenant, **line, **body))
    return simulations.reply(*service.say(g.tenant, **line, **body))


@blp.route(f"{T}/routing/explain", methods=["POST"])
@blp.arguments(ExplainSchema)
@blp.response(200, RouteSchema)
@access("tenant", "read", opens="tenant")
def explain_route(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Explain how a call would be answered

    Every rule that is tried and why; no call is made.
    """
    at = body["at"] or clock.now()
    return service.explain(session(), tenant=g.tenant, to=body["to"], at=at).as_dict()
