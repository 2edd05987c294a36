"""Reasons why a request got no response. Tenants see the messages, so they name no address."""


class OutgoingError(Exception):
    """A request got no response."""


class RequestForbidden(OutgoingError):
    """The request is not allowed; a retry gives the same result."""


class Unreachable(OutgoingError):
    """There was no response this time; a retry may succeed."""


class NameNotResolved(Unreachable):
    """The name server knows no address of the host."""


class RequestTimeout(Unreachable):
    """There was no complete response in time."""


class ResponseTooLarge(Exception):
    """The server has sent as many bytes as the client reads of a response."""
