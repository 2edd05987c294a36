"""A number's decision webhook: asked before a call is answered, heard if it answers in time.

Whatever goes wrong, the call takes the route that it would have taken without it.
"""

from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.kit import http, json, log, metrics, standard_webhooks
from vca.kit.at_rest import CannotOpen
from vca.kit.circuit import Circuit, Spared
from vca.kit.http import Answer, OutgoingError
from vca.telephony.types import Caller
from vca.tenant.calls import answering, decision_answers
from vca.tenant.calls.decision_answers import NoDecision
from vca.tenant.calls.route import Advice
from vca.tenant.phone_numbers import decision_webhook

# A caller hears it ring in the meantime, and the carrier wants an answer within five seconds.
TIMEOUT_S = 3.0
TYPE = "call.incoming"
_circuit = Circuit()


@dataclass(frozen=True)
class Question:
    """What is asked about a call that rings, and of whom, as plain values.

    `secrets` are empty where our keys do not open them: then nobody is asked.
    """

    tenant_id: UUID
    call_id: UUID
    phone_number_id: UUID
    called_number: str
    caller_number: str | None
    caller_id: str
    simulated: bool
    at: datetime
    url: str
    secrets: tuple[str, ...]

    @property
    def body(self) -> bytes:
        names = ("tenant_id", "call_id", "phone_number_id", "called_number", "caller_number")
        data = {name: getattr(self, name) for name in (*names, "caller_id", "simulated")}
        return json.dumps({"type": TYPE, "timestamp": self.at, "data": data})


def question(
    found: Row[Any],
    *,
    tenant_id: UUID,
    called_number: str,
    caller: Caller,
    simulated: bool,
    at: datetime,
) -> Question:
    """What is asked about a call to a number as `answering` found it; the call has its id now."""
    try:
        secrets = decision_webhook.secrets(
            found.decision_secret,
            tenant_id=tenant_id,
            phone_number_id=found.phone_number_id,
            now=at,
        )
    except CannotOpen:
        secrets = ()
    return Question(
        tenant_id,
        uuid4(),
        found.phone_number_id,
        called_number,
        caller.number,
        caller.caller_id,
        simulated,
        at,
        found.decision_url,
        secrets,
    )


def resolved(session: Session, found: Row[Any], advice: Advice) -> tuple[Row[Any], Advice]:
    """The number with the profile that was chosen; without advice if the tenant has none such."""
    if advice.ai_profile_id is None:
        return found, advice
    chosen = answering.with_profile(
        session, phone_number_id=found.phone_number_id, ai_profile_id=advice.ai_profile_id
    )
    if chosen is None:
        return found, advice.void("the tenant has no such profile")
    return chosen, advice


def ask(question: Question) -> Advice:
    """What the number's system wants done with the call, within three seconds.

    No transaction may be open.
    """
    try:
        advice = decision_answers.read(_answer(question))
    except NoDecision as none:
        log.get().warning(
            "call.undecided",
            call_id=str(question.call_id),
            phone_number_id=str(question.phone_number_id),
            why=str(none),
        )
        metrics.DECISIONS_TOTAL.inc(outcome=none.outcome)
        return Advice(str(none))
    metrics.DECISIONS_TOTAL.inc(outcome=advice.decision)
    return advice


def _answer(question: Question) -> Answer:
    if not question.secrets:
        raise NoDecision("skipped", "not asked: its secret cannot be read")
    signed = standard_webhooks.headers(
        question.secrets,
        id=f"call_{question.call_id.hex}",
        at=question.at,
        body=question.body,
    )
    headers = {"Content-Type": "application/json", **signed}
    endpoint = question.tenant_id, question.url
    try:
        _circuit.begin(endpoint)
    except Spared as spared:
        raise NoDecision("skipped", f"not asked: {spared}") from None
    began, worked = monotonic(), False
    try:
        answer = http.current().post(question.url, question.body, headers, timeout_s=TIMEOUT_S)
        worked = decision_answers.is_one(answer)
    except OutgoingError as error:
        raise NoDecision("unreachable", f"no answer: {error}") from error
    finally:
        _circuit.end(endpoint, worked=worked)
        metrics.DECISION_SECONDS.observe(monotonic() - began)
    return answer
