"""A phone for the terminal and simulations, which calls numbers through the fake carrier.

Its requests are the fake carrier's, signed, and take the same path as those of a real call.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from vca.conversation import speech_text
from vca.kit import json
from vca.kit.outcome_stream import OutcomeStream, PendingOutcome
from vca.services import Services
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest, CarrierResponse, LegOutcome
from vca.tenant.calls.carrier_webhooks import request_handler
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.simulations import Simulation


@dataclass(frozen=True)
class CallOutput:
    """What the caller hears, and the carrier's actions."""

    text: str
    actions: tuple[dict[str, Any], ...] = ()

    @property
    def is_transferring(self) -> bool:
        """Return whether the caller is being transferred and may return."""
        return any(action["type"] == "transfer" for action in self.actions)


class OutputStream(OutcomeStream[str, CallOutput]):
    """The agent's text in chunks; the outcome is all that the caller gets."""


class SimulatedPhone:
    """A phone without state between its method calls."""

    def __init__(self, adapter: FakeTelephonyAdapter, services: Services) -> None:
        self._adapter = adapter
        self._services = services

    def place_call(
        self, *, to: str, caller: str | None, provider_call_id: str, simulation: Simulation
    ) -> CallOutput:
        """Call a number. A `caller` of None withholds the caller's number."""
        fields = {"from": caller or "anonymous", "simulated": True, "to": to}
        request = self._build_request("voice", call_id=provider_call_id, **fields)
        return self._send_request(request, simulation)

    def stream_say(self, ref: CallRef, text: str) -> OutputStream:
        """Say a text in a live call, and return what the caller gets as a stream.

        To interrupt the agent by hanging up, close the stream. The text so far is stored.
        """
        return self._stream_output(
            self._build_request("speech", **self._call_fields(ref), text=text)
        )

    def stream_keys(self, ref: CallRef, keys: str) -> OutputStream:
        """Press keys in a live call; returns as `stream_say`."""
        return self._stream_output(self._build_request("keys", **self._call_fields(ref), keys=keys))

    def leave_voicemail(self, ref: CallRef, text: str) -> CallOutput:
        """Leave a voicemail, as text because there is no audio; that ends the call."""
        return self._send_action("voicemail", **self._call_fields(ref), text=text)

    def end_transfer(self, ref: CallRef, outcome: LegOutcome) -> CallOutput:
        """End the transfer that is in progress with this outcome."""
        return self._send_action("leg", **self._call_fields(ref), outcome=outcome)

    def hang_up(self, ref: CallRef) -> None:
        """Hang up as the caller."""
        self._send_action("status", **self._call_fields(ref), status="completed")

    def _call_fields(self, ref: CallRef) -> dict[str, str]:
        call_id = ref.call_id.hex
        state = call_tokens.sign_state(
            CallState(ref, provider_call_id=call_id), services=self._services
        )
        return {"call_id": call_id, "state": state}

    def _build_request(self, action: str, **fields: Any) -> CarrierRequest:
        base_url = self._services.callback_url(self._adapter.name)
        return self._adapter.signed_request(action, base_url, **fields)

    def _send_action(self, action: str, **fields: Any) -> CallOutput:
        return self._send_request(self._build_request(action, **fields), Simulation())

    def _send_request(self, request: CarrierRequest, simulation: Simulation) -> CallOutput:
        return _parse_response(
            request_handler.handle_request(
                self._adapter, request, self._services, simulation=simulation
            )
        )

    def _stream_output(self, request: CarrierRequest) -> OutputStream:
        whole_output = PendingOutcome[CallOutput]()
        return OutputStream(self._read_output(request, whole_output), whole_output)

    def _read_output(
        self, request: CarrierRequest, whole_output: PendingOutcome[CallOutput]
    ) -> Generator[str, None, None]:
        texts: list[str] = []
        turn = request_handler.start_simulated_turn(self._adapter, request, self._services)
        with turn.text as chunks:
            for chunk in chunks:
                texts.append(chunk.text)
                yield chunk.text
        call_output = _parse_response(turn.finish())
        if call_output.text:  # for example that the transfer was not answered
            texts.append(call_output.text)
            yield call_output.text
        whole_output.set(replace(call_output, text=speech_text.join_chunks(texts)))


def _parse_response(response: CarrierResponse) -> CallOutput:
    body = json.loads(response.body)
    actions = tuple(body["actions"])
    text = " ".join(action["text"] for action in actions if action["type"] == "say")
    return CallOutput(text, actions)
