"""The calls of a rehearsal, and what must hold of each when it is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.chaos.line import Line, Unanswered, post
from tests.chaos.points import END_WITHIN_S, FETCHED_WITHIN_S
from tests.chaos.stage import Stage
from tests.support.carrier_adapter import RehearsedAdapter
from tests.support.carrier_server import CarrierServer
from tests.support.world import fresh_number
from vca.kit import json

_LOOK_EVERY_S = 0.25
_TALK = ["agent", "caller", "agent", "caller", "agent"]
_STORED = ("stored", "deleted")


@dataclass
class Told:
    """What came of one call; `problems` is what must be empty."""

    scenario: str
    problems: list[str] = field(default_factory=list)
    ended_after_s: float = 0.0
    dialled: bool = True

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)


@dataclass(frozen=True)
class Act:
    """One call that is about to be played."""

    stage: Stage
    server: CarrierServer
    adapter: RehearsedAdapter
    port: int

    def incoming(self, number: dict[str, Any]) -> Line:
        line = self._line(self.server.carry(f"in-{uuid4().hex}"))
        line.ring(number["did_number"])
        return line

    def _line(self, call: Any, state: str = "") -> Line:
        return Line(self.server, self.adapter, self.port, call, state)

    def order(self) -> str:
        """Have VCA call somebody; the call's id."""
        body = {"to": fresh_number(), "from_phone_number_id": self.stage.plain["id"]}
        headers = {
            "Authorization": f"Bearer {self.stage.tenant.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": uuid4().hex,
        }
        answer = post(self.port, self.stage.calls_url, json.dumps(body), headers)
        return str(answer["id"])

    def await_dialled(self, call_id: str) -> Line | None:
        """The other side of an ordered call, once it rings; None: the order has failed."""
        reference = call_id.replace("-", "")
        ends_at = time.monotonic() + 2 * END_WITHIN_S
        while time.monotonic() < ends_at:
            call = self.server.await_dialled(reference, _LOOK_EVERY_S)
            if call is not None:
                return self._line(call, call.state)
            row = self.stage.call(call_id)
            if row is not None and row.ended_at is not None:
                return None
        return None


def inbound(act: Act, told: Told) -> str:
    """Two turns, and the caller hangs up."""
    line = act.incoming(act.stage.plain)
    return _talk(line, told)


def unheard(act: Act, told: Told) -> str:
    """The same, but word of the end gets lost."""
    line = act.incoming(act.stage.plain)
    return _talk(line, told, tell=False)


def taped(act: Act, told: Told) -> str:
    """The same, recorded."""
    line = act.incoming(act.stage.taped)
    told.expect(line.call.taped, "the tape never began")
    return _talk(line, told)


def transfer(act: Act, told: Told) -> str:
    """Nobody answers where the caller is sent; he is told so and hangs up."""
    line = act.incoming(act.stage.plain)
    line.say("Please connect me with sales.")
    told.expect(line.last == "transfer", f"no transfer but {line.actions}")
    line.leg("no_answer")
    told.expect(line.last == "listen", f"not back with the agent but {line.actions}")
    told.expect("nobody" in line.heard[-1], f"the caller heard only {line.heard}")
    line.hang_up()
    return line.call.provider_call_id


def outbound(act: Act, told: Told) -> str:
    """VCA calls somebody, who answers, speaks, and hangs up."""
    call_id = act.order()
    line = act.await_dialled(call_id)
    if line is None:
        told.dialled = False
        return call_id
    line.answered()
    _talk(line, told)
    told.expect(act.server.dials[call_id.replace("-", "")] == 1, "dialled twice")
    return call_id


def _talk(line: Line, told: Told, *, tell: bool = True) -> str:
    told.expect(line.last == "listen", f"the agent does not listen but {line.actions}")
    line.say("My boiler is broken.")
    line.say("Jane Miller.")
    told.expect(len(line.heard) >= 3, f"the caller heard only {line.heard}")
    line.hang_up(tell=tell)
    return line.call.provider_call_id


SCENARIOS: dict[str, Callable[[Act, Told], str]] = {
    scenario.__name__: scenario for scenario in (inbound, outbound, transfer, taped, unheard)
}


def play(name: str, act: Act) -> Told:
    """One call from ring to record."""
    told = Told(name)
    try:
        known_as = SCENARIOS[name](act, told)
    except Unanswered as error:
        told.problems.append(f"given up: {error}")
        return told
    _await_end(act.stage, known_as, told)
    return told


def _await_end(stage: Stage, known_as: str, told: Told) -> None:
    """Everything is over at the carrier: from here on the time counts."""
    began = time.monotonic()
    while (row := stage.call(known_as)) is None or row.ended_at is None:
        if time.monotonic() - began > END_WITHIN_S:
            told.problems.append(f"no end after {END_WITHIN_S:.0f} s: {row}")
            return
        time.sleep(_LOOK_EVERY_S)
    told.ended_after_s = time.monotonic() - began
    if not told.dialled:
        since = row.dialled_at or row.started_at
        told.ended_after_s = (row.ended_at - since).total_seconds()
        told.expect(told.ended_after_s <= END_WITHIN_S, f"ended {told.ended_after_s:.0f} s late")
        told.expect(row.end_reason == "carrier_error", f"not dialled, but {row.end_reason}")
        return
    told.expect(row.end_reason == "caller_hangup", f"ended as {row.end_reason}: {row.end_detail}")
    if told.scenario == "transfer":
        return
    told.expect(stage.turns(row.id) == _TALK, f"turns of {stage.turns(row.id)}")
    if told.scenario == "taped":
        _await_recording(stage, row.id, told)


def _await_recording(stage: Stage, call_id: Any, told: Told) -> None:
    began = time.monotonic()
    while (found := stage.recording(call_id)) != _STORED:
        if time.monotonic() - began > FETCHED_WITHIN_S:
            told.problems.append(f"the recording is {found}")
            return
        time.sleep(_LOOK_EVERY_S)
