"""A telephone for terminals and simulations: rings a number through the fake carrier.

What it sends is what the fake carrier would send, signed, through the same door as a real call.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from vca.kit import json
from vca.telephony.mock import FakeTelephonyAdapter
from vca.tenant.calls import inbound
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.refs import CallRef


@dataclass(frozen=True)
class Heard:
    """What comes out of the earpiece: words, what the line did, and whether it is still open."""

    text: str
    actions: tuple[dict[str, Any], ...]
    state: str | None

    @property
    def open(self) -> bool:
        return self.state is not None


class Telephone:
    """One telephone; it keeps nothing between two calls of its methods."""

    def __init__(self, carrier: FakeTelephonyAdapter, desk: Desk) -> None:
        self._carrier = carrier
        self._desk = desk

    def ring(self, *, to: str, caller: str | None, provider_call_id: str | None = None) -> Heard:
        """Ring a number; a `caller` of None withholds the number."""
        call_id = provider_call_id or uuid4().hex
        said = {"from": caller or "anonymous", "simulated": True}
        return self._send("voice", call_id=call_id, to=to, **said)

    def say(self, ref: CallRef, text: str) -> Heard:
        """Speak into a live call."""
        state = self._desk.seal(ref)
        return self._send("speech", call_id=ref.call_id.hex, state=state, text=text)

    def hang_up(self, ref: CallRef) -> None:
        """Put the receiver down."""
        state = self._desk.seal(ref)
        self._send("status", call_id=ref.call_id.hex, state=state, status="completed")

    def call(self, heard: Heard) -> CallRef:
        """The call that an open line belongs to."""
        assert heard.state is not None
        return self._desk.unseal(heard.state).ref

    def _send(self, action: str, **said: Any) -> Heard:
        request = self._carrier.request(action, self._desk.callback_url(self._carrier.name), **said)
        answer = json.loads(inbound.receive(self._carrier, request, self._desk).body)
        actions = tuple(answer["actions"])
        text = " ".join(action["text"] for action in actions if action["type"] == "say")
        return Heard(text, actions, answer["state"])


def shown(heard: Heard) -> list[dict[str, Any]]:
    """What the line did besides speaking and listening, for the API."""
    return [action for action in heard.actions if action["type"] not in ("say", "listen")]
