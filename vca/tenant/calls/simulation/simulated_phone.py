"""A telephone for terminals and simulations: rings a number through the fake carrier.

What it sends is what the fake carrier would send, signed, through the same door as a real call.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from vca.conversation import speech_text
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest, CarrierResponse, LegOutcome
from vca.tenant.calls.carrier_webhooks import request_handler
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef


@dataclass(frozen=True)
class CallOutput:
    """What comes out of the earpiece: words, what the line did, and whether it is still open."""

    text: str
    actions: tuple[dict[str, Any], ...]
    state: str | None

    @property
    def is_open(self) -> bool:
        return self.state is not None

    @property
    def is_transferring(self) -> bool:
        """Whether the caller is on the way to somebody else, and may come back."""
        return any(action["type"] == "transfer" for action in self.actions)


OutputStream = Generator[str, None, CallOutput]


class SimulatedPhone:
    """One telephone; it keeps nothing between two calls of its methods."""

    def __init__(self, adapter: FakeTelephonyAdapter, services: CallServices) -> None:
        self._adapter = adapter
        self._services = services

    def place_call(
        self, *, to: str, caller: str | None, provider_call_id: str | None = None
    ) -> CallOutput:
        """Ring a number; a `caller` of None withholds the number."""
        call_id = provider_call_id or uuid4().hex
        fields = {"from": caller or "anonymous", "simulated": True}
        return self._send_action("voice", call_id=call_id, to=to, **fields)

    def say(self, ref: CallRef, text: str) -> CallOutput:
        """Speak into a live call, and listen until the agent has finished."""
        return collect_output(self.stream_say(ref, text))

    def stream_say(self, ref: CallRef, text: str) -> OutputStream:
        """Speak into a live call: the agent's words as they come, then all that was heard.

        Who closes the generator has hung up on the agent's words; those said by then are kept.
        """
        return self._stream_output(
            self._build_request("speech", **self._call_fields(ref), text=text)
        )

    def stream_keys(self, ref: CallRef, keys: str) -> OutputStream:
        """Press keys in a live call, and listen as with `speak`."""
        return self._stream_output(self._build_request("keys", **self._call_fields(ref), keys=keys))

    def end_transfer(self, ref: CallRef, outcome: LegOutcome) -> CallOutput:
        """Let the transfer that the call is on end so."""
        return self._send_action("leg", **self._call_fields(ref), outcome=outcome)

    def hang_up(self, ref: CallRef) -> None:
        """Put the receiver down."""
        self._send_action("status", **self._call_fields(ref), status="completed")

    def call_ref(self, call_output: CallOutput) -> CallRef:
        """The call that an open line belongs to."""
        assert call_output.state is not None
        return self._services.verify_state(call_output.state).ref

    def _call_fields(self, ref: CallRef) -> dict[str, str]:
        return {"call_id": ref.call_id.hex, "state": self._services.sign_state(ref)}

    def _build_request(self, action: str, **fields: Any) -> CarrierRequest:
        base_url = self._services.callback_url(self._adapter.name)
        return self._adapter.signed_request(action, base_url, **fields)

    def _send_action(self, action: str, **fields: Any) -> CallOutput:
        request = self._build_request(action, **fields)
        return _parse_response(
            request_handler.handle_request(self._adapter, request, self._services, simulated=True)
        )

    def _stream_output(self, request: CarrierRequest) -> OutputStream:
        texts: list[str] = []
        with closing(
            request_handler.stream_simulated_turn(self._adapter, request, self._services)
        ) as turn:
            while True:
                try:
                    chunk = next(turn)
                except StopIteration as end:
                    call_output = _parse_response(end.value)
                    break
                texts.append(chunk.text)
                yield chunk.text
        if call_output.text:  # what came of it: nobody there to be connected with
            texts.append(call_output.text)
            yield call_output.text
        return replace(call_output, text=speech_text.join_chunks(texts))


def collect_output(output_stream: OutputStream) -> CallOutput:
    """All that was heard, once it is over."""
    while True:
        try:
            next(output_stream)
        except StopIteration as end:
            call_output: CallOutput = end.value
            return call_output


def public_actions(call_output: CallOutput) -> list[dict[str, str]]:
    """What the line did besides speaking and listening, for the API: nothing of to whom."""
    kinds = [action["type"] for action in call_output.actions]
    return [{"type": kind} for kind in kinds if kind not in ("say", "listen")]


def _parse_response(response: CarrierResponse) -> CallOutput:
    body = json.loads(response.body)
    actions = tuple(body["actions"])
    text = " ".join(action["text"] for action in actions if action["type"] == "say")
    return CallOutput(text, actions, body["state"])
