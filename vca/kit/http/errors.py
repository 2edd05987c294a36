"""Why a request got no answer. The texts are for whoever gave the URL and name no address."""


class OutgoingError(Exception):
    """A request that got no answer."""


class RequestForbidden(OutgoingError):
    """It must not be sent: the same request again changes nothing."""


class Unreachable(OutgoingError):
    """There was no answer this time; another try may get one."""


class RequestTimeout(Unreachable):
    """There was no whole answer in time."""
