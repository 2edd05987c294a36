"""A telephone for terminals and simulations: rings a number through the fake carrier.

What it sends is what the fake carrier would send, signed, through the same door as a real call.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from vca.conversation import spoken
from vca.kit import json
from vca.telephony.mock import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest, CarrierResponse, LegOutcome
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

    @property
    def dials(self) -> bool:
        """Whether the caller is on the way to somebody else, and may come back."""
        return any(action["type"] == "transfer" for action in self.actions)


Speech = Generator[str, None, Heard]


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
        """Speak into a live call, and listen until the agent has finished."""
        return whole(self.speak(ref, text))

    def speak(self, ref: CallRef, text: str) -> Speech:
        """Speak into a live call: the agent's words as they come, then all that was heard.

        Who closes the generator has hung up on the agent's words; those said by then are kept.
        """
        return self._listen(self._request("speech", **self._known(ref), text=text))

    def press(self, ref: CallRef, keys: str) -> Speech:
        """Press keys in a live call, and listen as with `speak`."""
        return self._listen(self._request("keys", **self._known(ref), keys=keys))

    def leg(self, ref: CallRef, outcome: LegOutcome) -> Heard:
        """Let the transfer that the call is on end so."""
        return self._send("leg", **self._known(ref), outcome=outcome)

    def hang_up(self, ref: CallRef) -> None:
        """Put the receiver down."""
        self._send("status", **self._known(ref), status="completed")

    def call(self, heard: Heard) -> CallRef:
        """The call that an open line belongs to."""
        assert heard.state is not None
        return self._desk.unseal(heard.state).ref

    def _known(self, ref: CallRef) -> dict[str, str]:
        return {"call_id": ref.call_id.hex, "state": self._desk.seal(ref)}

    def _request(self, action: str, **said: Any) -> CarrierRequest:
        base_url = self._desk.callback_url(self._carrier.name)
        return self._carrier.request(action, base_url, **said)

    def _send(self, action: str, **said: Any) -> Heard:
        request = self._request(action, **said)
        return _heard(inbound.receive(self._carrier, request, self._desk, ours=True))

    def _listen(self, request: CarrierRequest) -> Speech:
        words: list[str] = []
        with closing(inbound.stream(self._carrier, request, self._desk)) as said:
            while True:
                try:
                    clause = next(said)
                except StopIteration as end:
                    heard = _heard(end.value)
                    break
                words.append(clause.text)
                yield clause.text
        if heard.text:  # what came of it: nobody there to be connected with
            words.append(heard.text)
            yield heard.text
        return replace(heard, text=spoken.joined(words))


def whole(speech: Speech) -> Heard:
    """All that was heard, once it is over."""
    while True:
        try:
            next(speech)
        except StopIteration as end:
            heard: Heard = end.value
            return heard


def shown(heard: Heard) -> list[dict[str, str]]:
    """What the line did besides speaking and listening, for the API: nothing of to whom."""
    kinds = [action["type"] for action in heard.actions]
    return [{"type": kind} for kind in kinds if kind not in ("say", "listen")]


def _heard(response: CarrierResponse) -> Heard:
    answer = json.loads(response.body)
    actions = tuple(answer["actions"])
    text = " ".join(action["text"] for action in actions if action["type"] == "say")
    return Heard(text, actions, answer["state"])
