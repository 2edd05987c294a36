"""Commands to a call: what an answer orders, and what somebody orders meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api, marks, orders, speech
from vca.telephony.providers.telnyx.api import Asking
from vca.telephony.providers.telnyx.marks import Mark, Order
from vca.telephony.providers.telnyx.orders import Plan
from vca.telephony.types import (
    CallReply,
    CarrierFacts,
    HangUp,
    Listen,
    OutboundCall,
    Reject,
)

# Telnyx has done it already, or there is nothing to stop.
_ALREADY = frozenset({"90054"})
_STOPS = ("stop_gather", "stop_playback", "stop_transcription", "stop_conversation_relay")
_STOP_GATHER: tuple[Order, ...] = ({"command": "stop_gather"},)
_STOP_RELAY: tuple[Order, ...] = ({"command": "stop_conversation_relay"},)
_STOP_SPEAKING: tuple[Order, ...] = ({"command": "stop_playback", "stop": "all"},)
# What a leg is about that is told to do something else.
_STOPPING = {"listening": _STOP_GATHER, "relay": _STOP_RELAY}
_RINGS_S = (5, 600)
_ENDED = "the call has ended"


@dataclass(frozen=True)
class Line:
    """A call that commands go to. `seed` names what they answer: the same is done once."""

    ask: Asking
    call: str
    seed: str
    callback_url: str = ""
    own_number: str = ""

    def carry_out(self, plan: Plan, *, first: tuple[Order, ...] = ()) -> None:
        """Send what can be sent, and leave the rest with the call until it has spoken."""
        now, rest = orders.audible(plan).staged()
        mark = Mark(plan.phase, plan.state, self.call, self.own_number)
        if rest:
            mark = replace(mark, phase="then", rest=rest, after=plan.phase)
        for step, order in enumerate((*first, *now)):
            self.send(order, mark, step=step)

    def send(self, order: Order, mark: Mark | None = None, *, step: int = 0) -> None:
        """Send one command; raises TelephonyError."""
        said = dict(order)
        command = said.pop("command")
        if mark is not None:
            said |= {"client_state": mark.encoded()}
        if command == "transfer":
            said |= self._target(mark)
        if command in ("answer", "transfer"):
            said |= {"webhook_url": events_url(self.callback_url), "webhook_url_method": "POST"}
        said["command_id"] = str(uuid5(NAMESPACE_URL, f"{self.call}:{self.seed}:{step}"))
        action = getattr(self.ask.client.calls.actions, command)
        self._done(command, partial(self.ask, action, self.call, **said))

    def _target(self, mark: Mark | None) -> dict[str, str]:
        """What the other leg carries, and the number that it sees: ours, whoever called whom."""
        comes_back = mark is not None and mark.phase == "transfer"
        state = mark.state if mark is not None and comes_back else None
        target = Mark("target", state, self.call, self.own_number)
        shown = {"from_": self.own_number} if self.own_number else {}
        return {**shown, "target_leg_client_state": target.encoded()}

    def _done(self, command: str, request: Callable[[], Any]) -> None:
        try:
            request()
        except TelephonyError as error:
            stopped = command in _STOPS and error.permanent and error.code not in api.OVER
            if not stopped and error.code not in _ALREADY:
                raise


def events_url(callback_url: str) -> str:
    """Where a call's events go."""
    return f"{callback_url}events"


def take(line: Line, reply: CallReply) -> None:
    """Answer a call that rings, or refuse it. What it hears follows once it was answered."""
    if not reply.actions:
        return
    if isinstance(reply.actions[0], Reject | HangUp):
        line.carry_out(orders.of(replace(reply, actions=reply.actions[:1])))
    else:
        line.send({"command": "answer"}, Mark("ring", reply.state, line.call))


def go_on(line: Line, facts: CarrierFacts, mark: Mark | None, reply: CallReply) -> None:
    """Do what the reply says, or what had to wait until now."""
    if _is_silence(facts) and _has_moved_on(line, facts):
        return
    if reply.actions:
        line.carry_out(orders.of(reply), first=_before(facts, reply))
    elif facts.kind == "progress" and mark is not None and mark.rest:
        line.carry_out(Plan(mark.rest, mark.after, mark.state))


def _is_silence(facts: CarrierFacts) -> bool:
    return facts.kind == "speech" and not facts.speech


def _has_moved_on(line: Line, facts: CarrierFacts) -> bool:
    """Whether the call was answered meanwhile: words are heard late, and a silence ends on time."""
    status = find(line.ask, line.call)
    mark = marks.read(status.client_state) if status is not None else None
    return mark is not None and mark.state != facts.state


def _before(facts: CarrierFacts, reply: CallReply) -> tuple[Order, ...]:
    """Begin to listen where nobody did; stop what a caller is told while his words are answered."""
    heard = [action for action in reply.actions if isinstance(action, Listen)]
    if facts.kind in ("call", "answered", "leg", "relayed") and heard:
        return (_transcription(heard[0]),)
    interrupts = facts.kind == "speech" and facts.speech
    return () if not interrupts or isinstance(reply.actions[0], HangUp) else _STOP_GATHER


def _transcription(listen: Listen) -> Order:
    language = speech.heard_language(listen.language)
    return {
        "command": "start_transcription",
        "transcription_engine": "Google",
        "transcription_engine_config": {"transcription_engine": "Google", "language": language},
        "transcription_tracks": "inbound",
    }


def direct(ask: Asking, call: str, reply: CallReply, *, callback_url: str) -> None:
    """Have a live call do this now; what it was about is read from its own mark."""
    status = find(ask, call)
    if status is None or is_over(status):
        raise TelephonyError(_ENDED, permanent=True, code="90018")
    mark = marks.read(status.client_state)
    line = Line(ask, call, uuid4().hex, callback_url, mark.own_number if mark else "")
    stop = _STOPPING.get(mark.phase if mark else "", _STOP_SPEAKING)
    line.carry_out(orders.of(reply), first=stop)


def hang_up(ask: Asking, call: str) -> None:
    """End a call; one that is over is."""
    try:
        Line(ask, call, "hang-up").send({"command": "hangup"})
    except TelephonyError as error:
        if error.code not in api.OVER | api.UNKNOWN:
            raise


def find(ask: Asking, call: str) -> Any:
    """A call's status as Telnyx has it; None if Telnyx does not know the call."""
    try:
        return api.data(ask(ask.client.calls.retrieve_status, call))
    except TelephonyError as error:
        if error.code in api.UNKNOWN:
            return None
        raise


def is_over(status: Any) -> bool:
    """Whether a call has ended: one that is being dialled is not `alive` either."""
    return not status.is_alive and bool(status.end_time)


def dial(ask: Asking, call: OutboundCall, connection_id: str) -> str:
    """Dial a number once; the call's id."""
    mark = Mark("dial", call.state, own_number=call.from_number, reference=call.reference)
    try:
        answer = ask(
            ask.client.calls.dial,
            again=False,
            connection_id=connection_id,
            to=call.number,
            from_=call.from_number,
            timeout_secs=max(_RINGS_S[0], min(call.timeout_s, _RINGS_S[1])),
            client_state=mark.encoded(),
            command_id=str(uuid5(NAMESPACE_URL, f"dial:{call.reference}")),
            webhook_url=events_url(call.callback_url),
            webhook_url_method="POST",
        )
    except TelephonyError as error:
        raise _dialled_wrongly(error) from error
    return str(api.data(answer).call_control_id)


def _dialled_wrongly(error: TelephonyError) -> TelephonyError:
    """A number that Telnyx calls none is said in the contract's word."""
    if error.code not in ("10002", "10016"):
        return error
    return TelephonyError(str(error), permanent=True, code="invalid-number")
