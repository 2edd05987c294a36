"""Ask a number's decision webhook how to answer a call, within a time limit.

If anything goes wrong, the call takes the route that it would take without the webhook.
"""

from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.kit import json, standard_webhooks
from vca.kit.circuit_breaker import CircuitOpen, EndpointBreakers
from vca.kit.encryption import DecryptionError
from vca.kit.http import HttpResponse, OutgoingError
from vca.observability import log, metrics
from vca.services import Services
from vca.telephony.types import Caller
from vca.tenant.calls.routing import decision_response, number_config
from vca.tenant.calls.routing.decision_response import InvalidDecision
from vca.tenant.calls.routing.number_config import NumberConfig
from vca.tenant.calls.routing.routing_rules import WebhookDecision
from vca.tenant.phone_numbers import decision_webhook

# The caller hears ringing in the meantime, and carriers require an answer within five seconds.
TIMEOUT_S = 3.0
EVENT_TYPE = "call.incoming"
_breakers = EndpointBreakers()


@dataclass(frozen=True)
class DecisionRequest:
    """The content of a request, and where it is sent.

    `secrets` is empty if our keys cannot decrypt them. Then no request is sent.
    """

    tenant_id: UUID
    call_id: UUID
    phone_number_id: UUID
    called_number: str
    caller_number: str | None
    caller_id: str
    simulated: bool
    sent_at: datetime
    url: str
    secrets: tuple[str, ...]

    @property
    def body(self) -> bytes:
        """Return the request's JSON body."""
        names = ("tenant_id", "call_id", "phone_number_id", "called_number", "caller_number")
        data = {name: getattr(self, name) for name in (*names, "caller_id", "simulated")}
        return json.dumps({"type": EVENT_TYPE, "timestamp": self.sent_at, "data": data})


def build_request(
    config: NumberConfig,
    *,
    services: Services,
    tenant_id: UUID,
    called_number: str,
    caller: Caller,
    simulated: bool,
    sent_at: datetime,
) -> DecisionRequest:
    """Return the request about a call to the configured number; assigns the call's id."""
    try:
        secrets = decision_webhook.signing_secrets(
            bytes(config.decision_secret),
            tenant_id=tenant_id,
            phone_number_id=config.phone_number_id,
            now=sent_at,
            services=services,
        )
    except DecryptionError:
        secrets = ()
    return DecisionRequest(
        tenant_id,
        uuid4(),
        config.phone_number_id,
        called_number,
        caller.number,
        caller.caller_id,
        simulated,
        sent_at,
        config.decision_url,
        secrets,
    )


def resolve_profile(
    session: Session, config: NumberConfig, webhook_decision: WebhookDecision
) -> tuple[NumberConfig, WebhookDecision]:
    """Return the configuration with the chosen profile, and the decision.

    Without such a profile of the tenant, the configuration stays and the decision is rejected.
    """
    if webhook_decision.ai_profile_id is None:
        return config, webhook_decision
    profile_config = number_config.load_with_profile(
        session,
        phone_number_id=config.phone_number_id,
        ai_profile_id=webhook_decision.ai_profile_id,
    )
    if profile_config is None:
        return config, webhook_decision.rejected("the tenant has no such profile")
    return profile_config, webhook_decision


def request_decision(request: DecisionRequest, *, services: Services) -> WebhookDecision:
    """Send the request and return the decision, within three seconds.

    Any failure gives a decision without an action. No transaction may be open.
    """
    try:
        webhook_decision = decision_response.parse_decision(
            _send_request(request, services=services)
        )
    except InvalidDecision as error:
        log.get_logger().warning(
            "call.undecided",
            call_id=str(request.call_id),
            phone_number_id=str(request.phone_number_id),
            why=str(error),
        )
        metrics.DECISIONS_TOTAL.inc(outcome=error.outcome)
        return WebhookDecision(str(error))
    metrics.DECISIONS_TOTAL.inc(outcome=webhook_decision.action)
    return webhook_decision


def _send_request(request: DecisionRequest, *, services: Services) -> HttpResponse:
    if not request.secrets:
        raise InvalidDecision("skipped", "not asked: the secret cannot be decrypted")
    signature_headers = standard_webhooks.headers(
        request.secrets,
        id=f"call_{request.call_id.hex}",
        sent_at=request.sent_at,
        body=request.body,
    )
    headers = {"Content-Type": "application/json", **signature_headers}
    endpoint = request.tenant_id, request.url
    try:
        _breakers.begin(endpoint)
    except CircuitOpen as circuit_open:
        raise InvalidDecision("skipped", f"not asked: {circuit_open}") from None
    started_s, succeeded = monotonic(), False
    try:
        response = services.http_client.post(
            request.url,
            request.body,
            headers,
            timeout_s=TIMEOUT_S,
            connection_scope=request.tenant_id,
            is_repeatable=True,  # it has an id, and changes nothing
        )
        succeeded = decision_response.is_success(response)
    except OutgoingError as error:
        raise InvalidDecision("unreachable", f"no response: {error}") from error
    finally:
        _breakers.end(endpoint, succeeded=succeeded)
        metrics.DECISION_SECONDS.observe(monotonic() - started_s)
    return response
