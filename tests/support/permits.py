"""Permissions to dial, for tests of adapters, which do not check the dial policy."""

from vca.telephony.dial_permit import DialPermit
from vca.telephony.types import Forward, OutboundCall, PlacedCallQuery, Transfer


def forward(number: str) -> Forward:
    """Return a forward to a number that may be dialled."""
    return Forward(DialPermit(number))


def transfer(number: str, timeout_s: int = 25) -> Transfer:
    """Return a transfer to a number that may be dialled."""
    return Transfer(DialPermit(number), timeout_s)


def query_for(call: OutboundCall) -> PlacedCallQuery:
    """Return the query that finds a placed call."""
    return PlacedCallQuery(call.reference, call.permit.number, call.from_number)
