"""Telnyx's end of the line: a switch on loopback, whose events go to the product, signed."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from werkzeug.test import TestResponse

from tests.carriers.telnyx.accounts import CALLER
from tests.carriers.telnyx.calls import Leg, Switch
from tests.carriers.telnyx.server import TelnyxServer
from tests.carriers.telnyx.signing import Signer
from tests.carriers.telnyx.understood import NAMES
from tests.support.api import Api
from vca.telephony.types import CarrierRequest

EVENTS = "/telephony/telnyx/events"
Event = dict[str, Any]
_calls = count(1)


def in_order(events: Sequence[Event]) -> Sequence[Event]:
    """As they happened, each once."""
    return events


class TelnyxLine:
    """A carrier that calls; `api` has no key. `sent` says in which order events go, and how often.

    What people do is `switch`'s; `pump` tells it, and all that follows from what we then order.
    """

    def __init__(
        self,
        server: TelnyxServer,
        signer: Signer,
        api: Api,
        *,
        sent: Callable[[Sequence[Event]], Sequence[Event]] = in_order,
    ) -> None:
        self._server = server
        self._signer = signer
        self._api = api
        self.sent = sent

    @property
    def switch(self) -> Switch:
        return self._server.account.switch

    def ring(self, to: str, *, from_: str = CALLER) -> Leg:
        """Somebody calls, and is answered, or not."""
        leg = self.switch.ring(f"v3:rung-{next(_calls)}", to=to, from_=from_)
        self.pump()
        return leg

    def say(self, leg: Leg, *words: str) -> None:
        """The caller speaks, in one breath."""
        for each in words:
            self.switch.say(leg, each)
        self.pump()

    def press(self, leg: Leg, keys: str) -> None:
        self.switch.press(leg, keys)
        self.pump()

    def keep_silent(self, leg: Leg) -> None:
        self.switch.keep_silent(leg)
        self.pump()

    def put_down(self, leg: Leg) -> None:
        """The caller hangs up."""
        self.switch.put_down(leg)
        self.pump()

    def pump(self) -> None:
        """Send what has happened, until nothing more does."""
        while self.switch.pending:
            happened, self.switch.pending = self.switch.pending, []
            for event in self.sent(happened):
                self.tell(event)

    def tell(self, event: Event) -> None:
        """Send one event, which must be taken."""
        response = self.send(self._signer.request(event, url=EVENTS))
        assert (response.status_code, response.data) == (200, b""), response.text

    def send(self, request: CarrierRequest) -> TestResponse:
        """Send a request as it is."""
        return self._api.send("POST", EVENTS, data=request.body, headers=dict(request.headers))


def ordered(leg: Leg) -> list[str]:
    """What a leg was told to do, in order."""
    return [NAMES.get(command, command) for command, _ in leg.commands]


def heard(leg: Leg) -> list[str]:
    """What was said to a leg."""
    return [body["payload"] for _, body in leg.commands if "payload" in body]
