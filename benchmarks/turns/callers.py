"""A hundred callers in a process of their own: ring, talk for a while, hang up, ring again."""

import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks import load, requests
from vca.telephony.mock import FakeTelephonyAdapter

THINKS_S = (0.5, 2.5)
# What the National Center for Voice and Speech gives for English.
WORDS_A_MINUTE = 150
TURNS = 8
_SAYS = "I would like to know if you are open tomorrow."
_RING_WITHIN_S = 15
_ANSWER_S = 20


@dataclass(frozen=True)
class Order:
    """How many callers ring whom, and for how long; what was said before `warm_s` is not kept.

    `hurried` callers say at once what they have thought of: they neither listen nor speak.
    """

    port: int
    base_url: str
    secret_key: str
    numbers: Sequence[str]
    calls: int
    seconds: float
    warm_s: float
    hurried: bool


@dataclass
class Outcome:
    """Seconds that each turn took by its mark, how many were answered, and why others were not."""

    elapsed_s: float = 0.0
    answered: int = 0
    took_s: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def run(order: Order) -> Outcome:
    """The outcome of a load that runs in another process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (order,))


def _run(order: Order) -> Outcome:
    return asyncio.run(_all(order))


async def _all(order: Order) -> Outcome:
    outcome = Outcome()
    began = time.perf_counter()
    callers = [_Caller(order, number, outcome, began) for number in range(order.calls)]
    await asyncio.gather(*(caller.live() for caller in callers))
    outcome.elapsed_s = order.seconds - order.warm_s
    return outcome


class Refused(Exception):
    """Not the answer that a live call gets."""


class _Caller:
    """One caller, one call at a time."""

    def __init__(self, order: Order, number: int, outcome: Outcome, began: float) -> None:
        self._order, self._number, self._outcome = order, number, outcome
        self._keeps_from, self._ends_at = began + order.warm_s, began + order.seconds
        self._chance = random.Random(number)
        self._carrier = FakeTelephonyAdapter(f"fake-carrier|{order.secret_key}")

    async def live(self) -> None:
        """Call after call until the time is over."""
        call = 0
        within_s = THINKS_S[1] if self._order.hurried else _RING_WITHIN_S
        await asyncio.sleep(self._chance.uniform(0, within_s))
        while time.perf_counter() < self._ends_at:
            call += 1
            try:
                await self._call(call)
            except (OSError, EOFError, TimeoutError, Refused) as error:
                self._outcome.errors.append(repr(error))

    async def _call(self, call: int) -> None:
        line = _Line(*await asyncio.open_connection("127.0.0.1", self._order.port))
        call_id = f"bench-{self._number}-{call}"
        number = self._order.numbers[self._number % len(self._order.numbers)]
        heard = await self._send(line, "voice", call_id, to=number, **{"from": requests.CALLER})
        for turn in range(TURNS):
            await asyncio.sleep(self._pause_s(heard.words))
            if time.perf_counter() > self._ends_at:
                break
            mark = f"turn-{self._number}-{call}-{turn}"
            said = {"state": heard.state, "text": f"{_SAYS} {mark}"}
            began = time.perf_counter()
            heard = await self._send(line, "speech", call_id, **said)
            self._outcome.answered += 1
            if began > self._keeps_from:
                self._outcome.took_s[mark] = time.perf_counter() - began
        await self._send(line, "status", call_id, state=heard.state, status="completed")
        line.close()

    def _pause_s(self, words: int) -> float:
        """From an answer to what is said next: the words are heard, and those of the caller said.

        A carrier sends what was said when it has been said.
        """
        spoken = 0 if self._order.hurried else words + len(_SAYS.split())
        return spoken * 60 / WORDS_A_MINUTE + self._chance.uniform(*THINKS_S)

    async def _send(self, line: "_Line", action: str, call_id: str, **said: str) -> "_Heard":
        """Send it, and come back as often as the answer says."""
        answer = await self._post(line, action, call_id, **said)
        words = _words(answer)
        while _last(answer) == "come_back":
            answer = await self._post(line, "more", call_id, state=answer["state"])
            words += _words(answer)
        if action != "status" and _last(answer) != "listen":
            raise Refused(f"{action}: {answer['actions']}")
        return _Heard(words, answer["state"] or said.get("state", ""))

    async def _post(self, line: "_Line", action: str, call_id: str, **said: str) -> dict[str, Any]:
        base = f"{self._order.base_url}/telephony/fake/"
        carried = self._carrier.request(action, base, call_id=call_id, **said)
        path = urlsplit(carried.url).path
        sent = requests.raw("POST", path, requests.headers(carried), carried.body)
        return await asyncio.wait_for(line.ask(sent), _ANSWER_S)


@dataclass(frozen=True)
class _Heard:
    """How many words an answer had, and the state that goes on."""

    words: int
    state: str


def _words(answer: dict[str, Any]) -> int:
    return sum(len(each.get("text", "").split()) for each in answer["actions"])


def _last(answer: dict[str, Any]) -> str:
    """What the line does after the words."""
    return answer["actions"][-1]["type"] if answer["actions"] else ""


class _Line:
    """A connection that is kept for one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> dict[str, Any]:
        """The answer's body. Raises EOFError and Refused."""
        self._writer.write(request)
        received = b""
        while not load.complete(received):
            chunk = await self._reader.read(65_536)
            if not chunk:
                raise EOFError("closed before the answer")
            received += chunk
        if not received.startswith(b"HTTP/1.1 2"):
            raise Refused(received[:200].decode(errors="replace"))
        answer: dict[str, Any] = json.loads(received.partition(b"\r\n\r\n")[2])
        return answer

    def close(self) -> None:
        self._writer.close()
