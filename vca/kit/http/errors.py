"""Reasons why a request got no response. Tenants see the messages, so they name no address."""


class OutgoingError(Exception):
    """A request got no response."""


class RequestForbidden(OutgoingError):
    """The request is not allowed; a retry gives the same result."""


class Unreachable(OutgoingError):
    """There was no response this time; a retry may succeed."""


class RequestTimeout(Unreachable):
    """There was no complete response in time."""
