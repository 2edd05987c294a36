"""Callers in a separate process: ring, talk for a while, hang up, ring again."""

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
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

THINK_RANGE_S = (0.5, 2.5)
# The average of English, according to the National Center for Voice and Speech.
WORDS_PER_MINUTE = 150
TURNS_PER_CALL = 8
_UTTERANCE = "I would like to know if you are open tomorrow."
_RING_SPREAD_S = 15
_ANSWER_TIMEOUT_S = 20


@dataclass(frozen=True)
class TurnLoadPlan:
    """How many callers ring which numbers, and for how long.

    Turns before `warm_up_s` are not measured. `think_only` callers speak when they have thought:
    they neither listen nor take time to speak. `run` numbers the runs on one database, so that no
    call id occurs twice.
    """

    port: int
    base_url: str
    secret_key: str
    numbers: Sequence[str]
    calls: int
    seconds: float
    warm_up_s: float
    think_only: bool
    run: int = 0


@dataclass
class TurnLoadResult:
    """Seconds of each turn by its mark, the number of answered turns, and the errors."""

    elapsed_s: float = 0.0
    answered_turns: int = 0
    durations_s: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def run_callers(plan: TurnLoadPlan) -> TurnLoadResult:
    """Run the load in another process and return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run_process, (plan,))


def _run_process(plan: TurnLoadPlan) -> TurnLoadResult:
    return asyncio.run(_run_all_callers(plan))


async def _run_all_callers(plan: TurnLoadPlan) -> TurnLoadResult:
    result = TurnLoadResult()
    started_at = time.perf_counter()
    callers = [_Caller(plan, number, result, started_at) for number in range(plan.calls)]
    await asyncio.gather(*(caller.run_calls() for caller in callers))
    result.elapsed_s = plan.seconds - plan.warm_up_s
    return result


class UnexpectedAnswer(Exception):
    """The response is not what a live call should get."""


class _Caller:
    """One caller, with one call at a time."""

    def __init__(
        self, plan: TurnLoadPlan, number: int, result: TurnLoadResult, started_at: float
    ) -> None:
        self._plan, self._number, self._result = plan, number, result
        self._measures_from, self._ends_at = started_at + plan.warm_up_s, started_at + plan.seconds
        self._rng = random.Random(number)
        self._carrier = FakeTelephonyAdapter(f"fake-carrier|{plan.secret_key}")

    async def run_calls(self) -> None:
        """Make calls one after the other until the time is over."""
        call_index = 0
        spread_s = THINK_RANGE_S[1] if self._plan.think_only else _RING_SPREAD_S
        await asyncio.sleep(self._rng.uniform(0, spread_s))
        while time.perf_counter() < self._ends_at:
            call_index += 1
            try:
                await self._run_call(call_index)
            except (OSError, EOFError, TimeoutError, UnexpectedAnswer) as error:
                self._result.errors.append(repr(error))

    async def _run_call(self, call_index: int) -> None:
        connection = _CallConnection(*await asyncio.open_connection("127.0.0.1", self._plan.port))
        call_id = f"bench-{self._plan.run}-{self._number}-{call_index}"
        number = self._plan.numbers[self._number % len(self._plan.numbers)]
        answer = await self._send_event(
            connection, "voice", call_id, to=number, **{"from": requests.CALLER}
        )
        for turn in range(TURNS_PER_CALL):
            await asyncio.sleep(self._pause_s(answer.words))
            if time.perf_counter() > self._ends_at:
                break
            mark = f"turn-{self._number}-{self._plan.run * 1000 + call_index}-{turn}"
            fields = {"state": answer.state, "text": f"{_UTTERANCE} {mark}"}
            started_at = time.perf_counter()
            answer = await self._send_event(connection, "speech", call_id, **fields)
            self._result.answered_turns += 1
            if started_at > self._measures_from:
                self._result.durations_s[mark] = time.perf_counter() - started_at
        await self._send_event(
            connection, "status", call_id, state=answer.state, status="completed"
        )
        connection.close()

    def _pause_s(self, words: int) -> float:
        """Return the seconds from an answer to the next words: listening, speaking and thinking.

        A carrier sends the caller's words once they have been spoken.
        """
        spoken_words = 0 if self._plan.think_only else words + len(_UTTERANCE.split())
        return spoken_words * 60 / WORDS_PER_MINUTE + self._rng.uniform(*THINK_RANGE_S)

    async def _send_event(
        self, connection: "_CallConnection", action: str, call_id: str, **fields: str
    ) -> "_AgentAnswer":
        """Send the event, and poll for the rest as often as the response asks for it."""
        answer = await self._post_event(connection, action, call_id, **fields)
        words = _count_words(answer)
        while _last_action_type(answer) == "come_back":
            answer = await self._post_event(connection, "more", call_id, state=answer["state"])
            words += _count_words(answer)
        if action != "status" and _last_action_type(answer) != "listen":
            raise UnexpectedAnswer(f"{action}: {answer['actions']}")
        return _AgentAnswer(words, answer["state"] or fields.get("state", ""))

    async def _post_event(
        self, connection: "_CallConnection", action: str, call_id: str, **fields: str
    ) -> dict[str, Any]:
        base = f"{self._plan.base_url}/telephony/fake/"
        signed = self._carrier.signed_request(action, base, call_id=call_id, **fields)
        path = urlsplit(signed.url).path
        request = requests.encode_request(
            "POST", path, requests.signed_headers(signed), signed.body
        )
        return await asyncio.wait_for(connection.send_request(request), _ANSWER_TIMEOUT_S)


@dataclass(frozen=True)
class _AgentAnswer:
    """The number of words in an answer, and the state for the next request."""

    words: int
    state: str


def _count_words(answer: dict[str, Any]) -> int:
    return sum(len(action.get("text", "").split()) for action in answer["actions"])


def _last_action_type(answer: dict[str, Any]) -> str:
    """Return the type of the last action, or empty if there is none."""
    return answer["actions"][-1]["type"] if answer["actions"] else ""


class _CallConnection:
    """A connection that is kept open for one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send_request(self, request: bytes) -> dict[str, Any]:
        """Send a request and return the response's body. Raises EOFError and UnexpectedAnswer."""
        self._writer.write(request)
        received = b""
        while not load.is_complete(received):
            chunk = await self._reader.read(65_536)
            if not chunk:
                raise EOFError("closed before the answer")
            received += chunk
        if not received.startswith(b"HTTP/1.1 2"):
            raise UnexpectedAnswer(received[:200].decode(errors="replace"))
        answer: dict[str, Any] = json.loads(received.partition(b"\r\n\r\n")[2])
        return answer

    def close(self) -> None:
        self._writer.close()
