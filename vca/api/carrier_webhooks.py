"""One route for all carriers: `POST /telephony/<provider>/<action>`."""

from typing import NoReturn

from flask import Response, request
from werkzeug.exceptions import Forbidden, NotFound

from vca.api import admission, limits
from vca.kit.errors import DomainError
from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.parser import check_query
from vca.observability import log, metrics
from vca.services import current_services
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.types import CarrierRequest
from vca.tenant.calls.carrier_webhooks import request_handler

MAX_BODY = 64 * 1024

blp = Blueprint("carriers", __name__, description="Webhooks from carriers, signed by the carrier.")


class UnreadableCarrierRequest(DomainError):
    """The request is not one that this carrier sends."""

    code = "unreadable-carrier-request"


@blp.route("/telephony/<provider>/<action>", methods=["POST"])
@blp.doc(
    responses={
        "200": {"description": "The carrier's next instructions, in its own format."},
        "403": {"description": "The signature is missing or invalid. Nothing was written."},
    }
)
@access("carrier")
def carrier_request(provider: str, action: str) -> Response:
    """Receive a carrier webhook

    The carrier signs the raw body and the configured public URL with the account that holds the
    call or the called number: the deployment's or the tenant's own.
    """
    parser = current_services().carriers.parser_for(provider)
    if parser is None or action not in parser.actions:
        raise NotFound
    check_query(request)
    admission.read_carrier_body(max_bytes=MAX_BODY)
    signed_request = CarrierRequest(
        action=action,
        url=pagination.public_url(request.full_path.rstrip("?")),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_data(),
    )
    try:
        carrier_response = request_handler.handle_request(
            parser, signed_request, current_services()
        )
    except InvalidCarrierSignature:
        reject_invalid_signature(provider, action)
    except InvalidCarrierRequest as error:
        raise UnreadableCarrierRequest(f"Not a valid request of this carrier: {error}.") from None
    return Response(
        carrier_response.body, carrier_response.status, content_type=carrier_response.content_type
    )


def reject_invalid_signature(provider: str, action: str) -> NoReturn:
    """Count, log and reject a request without a valid signature.

    Raises Forbidden, or RateLimited.
    """
    metrics.SIGNATURE_FAILURES.inc(carrier=provider)
    log.get_logger().warning("carrier.signature_refused", provider=provider, action=action)
    limits.record_client_failure()
    raise Forbidden("The signature is missing or invalid.") from None
