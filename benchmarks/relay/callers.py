"""Callers through Twilio in a separate process: ring, open the WebSocket, talk, hang up."""

import asyncio
import multiprocessing
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

from benchmarks import load
from benchmarks.relay.websocket import ConnectionRejected, RelaySocket
from benchmarks.turns.callers import THINK_RANGE_S, WORDS_PER_MINUTE

ACCOUNT_SID, AUTH_TOKEN = f"AC{1:032x}", f"{1:032x}"
_UTTERANCE = "I would like to know if you are open tomorrow."
_RING_SPREAD_S = 10
_ANSWER_TIMEOUT_S = 20
_SOCKET_URL = re.compile(r'<ConversationRelay[^>]* url="([^"]+)"')
_STATE_TOKEN = re.compile(r'<Parameter name="token" value="([^"]+)"')


@dataclass(frozen=True)
class RelayLoadPlan:
    """How many callers ring which numbers, and for how long.

    Turns before `warm_up_s` are not measured. `run` numbers the runs on one database, so that no
    call id occurs twice.
    """

    web_port: int
    relay_port: int
    base_url: str
    numbers: Sequence[str]
    calls: int
    seconds: float
    warm_up_s: float
    think_only: bool
    run: int = 0


@dataclass
class RelayLoadResult:
    """Seconds to the first words by turn mark, the number of answered turns, and the errors."""

    sockets: int = 0
    answered_turns: int = 0
    durations_s: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def run_callers(plan: RelayLoadPlan) -> RelayLoadResult:
    """Run the load in another process and return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run_process, (plan,))


def _run_process(plan: RelayLoadPlan) -> RelayLoadResult:
    return asyncio.run(_run_all_calls(plan))


async def _run_all_calls(plan: RelayLoadPlan) -> RelayLoadResult:
    result = RelayLoadResult()
    started_at = time.perf_counter()
    calls = [_Call(plan, number, result, started_at) for number in range(plan.calls)]
    await asyncio.gather(*(call.run_call() for call in calls))
    return result


class _Call:
    """One call, which lasts as long as the run."""

    def __init__(
        self, plan: RelayLoadPlan, number: int, result: RelayLoadResult, started_at: float
    ) -> None:
        self._plan, self._number, self._result = plan, number, result
        self._measures_from, self._ends_at = started_at + plan.warm_up_s, started_at + plan.seconds
        self._rng = random.Random(number)
        self._call_sid = f"CA{plan.run * 10_000 + number:032x}"

    async def run_call(self) -> None:
        """Run the call from ring to hang-up."""
        await asyncio.sleep(self._rng.uniform(0, _RING_SPREAD_S))
        try:
            socket = await self._open_socket(*await self._ring_number())
            self._result.sockets += 1
            await self._run_turns(socket)
            socket.close()
        except (OSError, EOFError, TimeoutError, ConnectionRejected) as error:
            self._result.errors.append(repr(error))

    async def _ring_number(self) -> tuple[str, str]:
        """Ring and return the URL of the call's WebSocket, and the token for its first frame."""
        number = self._plan.numbers[self._number % len(self._plan.numbers)]
        url = f"{self._plan.base_url}/telephony/twilio/voice"
        form = {"AccountSid": ACCOUNT_SID, "CallSid": self._call_sid, "CallStatus": "ringing"}
        form |= {"Direction": "inbound", "From": "+14155550123", "To": number}
        response = await self._post_form(url, form)
        socket_url, token = _SOCKET_URL.search(response), _STATE_TOKEN.search(response)
        if socket_url is None or token is None:
            raise ConnectionRejected(response)
        return unescape(socket_url[1]), unescape(token[1])

    async def _post_form(self, url: str, form: dict[str, str]) -> str:
        signature = RequestValidator(AUTH_TOKEN).compute_signature(url, form)
        body = urlencode(form)
        request = (
            f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            f"X-Twilio-Signature: {signature}\r\n\r\n{body}"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._plan.web_port)
        writer.write(request.encode())
        received = b""
        while not load.is_complete(received):
            chunk = await asyncio.wait_for(reader.read(65_536), _ANSWER_TIMEOUT_S)
            if not chunk:
                raise EOFError("closed before the answer")
            received += chunk
        writer.close()
        return received.decode()

    async def _open_socket(self, url: str, token: str) -> RelaySocket:
        signature = RequestValidator(AUTH_TOKEN).compute_signature(url, {})
        headers = {"X-Twilio-Signature": signature}
        socket = await RelaySocket.connect(self._plan.relay_port, urlsplit(url).path, headers)
        socket.send_frame(type="setup", callSid=self._call_sid, customParameters={"token": token})
        return socket

    async def _run_turns(self, socket: RelaySocket) -> None:
        turn, words = 0, 12
        while True:
            await asyncio.sleep(self._pause_s(words))
            if time.perf_counter() > self._ends_at:
                return
            words = await asyncio.wait_for(self._run_turn(socket, turn), _ANSWER_TIMEOUT_S)
            turn += 1

    async def _run_turn(self, socket: RelaySocket, turn: int) -> int:
        """Run one turn; return how many words the agent said in it."""
        mark = f"turn-{self._number}-{self._plan.run}-{turn}"
        started_at = time.perf_counter()
        socket.send_frame(
            type="prompt", voicePrompt=f"{_UTTERANCE} {mark}", lang="en-GB", last=True
        )
        words = 0
        first_at = 0.0
        while True:
            frame = await socket.receive_frame()
            if frame["type"] != "text":
                raise ConnectionRejected(str(frame))
            first_at = first_at or time.perf_counter()
            words += len(frame["token"].split())
            if frame["last"]:
                break
        self._result.answered_turns += 1
        if started_at > self._measures_from:
            self._result.durations_s[mark] = first_at - started_at
        return words

    def _pause_s(self, words: int) -> float:
        spoken_words = 0 if self._plan.think_only else words + len(_UTTERANCE.split())
        return spoken_words * 60 / WORDS_PER_MINUTE + self._rng.uniform(*THINK_RANGE_S)
