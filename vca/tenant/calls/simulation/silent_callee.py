"""Answer the calls that the fake carrier places, so that outbound calls can be tried offline."""

from vca.services import Services
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import OutboundCall
from vca.tenant.calls.carrier_webhooks import request_handler


def answer_call(
    carrier: FakeTelephonyAdapter, call: OutboundCall, provider_call_id: str, *, services: Services
) -> None:
    """Answer a call, as the carrier would report it, and let the agent greet.

    Nobody speaks after that. The job that checks silent calls learns that the callee has hung up.
    """
    request = carrier.signed_request(
        "answered",
        services.callback_url(carrier.name),
        call_id=provider_call_id,
        state=call.state,
    )
    request_handler.handle_request(carrier, request, services)
