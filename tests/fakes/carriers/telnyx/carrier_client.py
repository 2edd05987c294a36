"""Telnyx's client: sends the events of a fake switch to the API, signed."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from tests.fakes.carriers.telnyx.accounts import CALLER
from tests.fakes.carriers.telnyx.calls import Leg, Switch
from tests.fakes.carriers.telnyx.command_interpreter import COMMAND_NAMES
from tests.fakes.carriers.telnyx.server import TelnyxServer
from tests.fakes.carriers.telnyx.signing import Signer
from tests.support.api import Api, ApiResponse
from vca.telephony.types import CarrierRequest

EVENTS_PATH = "/telephony/telnyx/events"
Event = dict[str, Any]
_calls = count(1)


def in_order(events: Sequence[Event]) -> Sequence[Event]:
    """Send events in their order, each once."""
    return events


class TelnyxCarrierClient:
    """Sends the events of `switch`; `api` has no key. `order_events` may reorder or repeat them.

    Methods of `switch` are the actions of people. `deliver_events` sends their events, and those
    that result from the product's commands.
    """

    def __init__(
        self,
        server: TelnyxServer,
        signer: Signer,
        api: Api,
        *,
        order_events: Callable[[Sequence[Event]], Sequence[Event]] = in_order,
    ) -> None:
        self._server = server
        self._signer = signer
        self._api = api
        self.order_events = order_events

    @property
    def switch(self) -> Switch:
        return self._server.account.switch

    def ring(self, to: str, *, from_: str = CALLER) -> Leg:
        """Start an inbound call and send its events."""
        leg = self.switch.ring(f"v3:rung-{next(_calls)}", to=to, from_=from_)
        self.deliver_events()
        return leg

    def say(self, leg: Leg, *texts: str) -> None:
        """Send texts that the caller says without a pause."""
        for text in texts:
            self.switch.say(leg, text)
        self.deliver_events()

    def press(self, leg: Leg, keys: str) -> None:
        self.switch.press(leg, keys)
        self.deliver_events()

    def keep_silent(self, leg: Leg) -> None:
        self.switch.keep_silent(leg)
        self.deliver_events()

    def hang_up(self, leg: Leg) -> None:
        """End the caller's leg."""
        self.switch.end_leg(leg)
        self.deliver_events()

    def deliver_events(self) -> None:
        """Send all pending events, and those that result from them."""
        while self.switch.pending:
            pending, self.switch.pending = self.switch.pending, []
            for event in self.order_events(pending):
                self.deliver_event(event)

    def deliver_event(self, event: Event) -> None:
        """Send one event; fail unless the API accepts it."""
        response = self.send_request(self._signer.request(event, url=EVENTS_PATH))
        assert (response.status_code, response.data) == (200, b""), response.text

    def send_request(self, request: CarrierRequest) -> ApiResponse:
        """Send a prepared request."""
        return self._api.send("POST", EVENTS_PATH, data=request.body, headers=dict(request.headers))


def command_names(leg: Leg) -> list[str]:
    """Return the commands that a leg got, in order."""
    return [COMMAND_NAMES.get(command, command) for command, _ in leg.commands]


def spoken_texts(leg: Leg) -> list[str]:
    """Return the texts that were spoken on a leg."""
    return [body["payload"] for _, body in leg.commands if "payload" in body]
