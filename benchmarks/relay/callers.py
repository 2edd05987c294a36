"""Callers through Twilio in a process of their own: ring, open the socket, talk, hang up."""

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
from benchmarks.relay.sockets import Refused, Socket
from benchmarks.turns.callers import THINKS_S, WORDS_A_MINUTE

ACCOUNT, TOKEN = f"AC{1:032x}", f"{1:032x}"
_SAYS = "I would like to know if you are open tomorrow."
_RING_WITHIN_S = 10
_ANSWER_S = 20
_TOKEN = re.compile(r'<Parameter name="token" value="([^"]+)"')


@dataclass(frozen=True)
class Order:
    """How many callers ring whom, and for how long; what was said before `warm_s` is not kept."""

    web_port: int
    relay_port: int
    base_url: str
    numbers: Sequence[str]
    calls: int
    seconds: float
    warm_s: float
    hurried: bool


@dataclass
class Outcome:
    """Seconds to the first words by each turn's mark, the turns answered, and what failed."""

    sockets: int = 0
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
    calls = [_Call(order, number, outcome, began) for number in range(order.calls)]
    await asyncio.gather(*(call.live() for call in calls))
    return outcome


class _Call:
    """One call, which lasts as long as the run."""

    def __init__(self, order: Order, number: int, outcome: Outcome, began: float) -> None:
        self._order, self._number, self._outcome = order, number, outcome
        self._keeps_from, self._ends_at = began + order.warm_s, began + order.seconds
        self._chance = random.Random(number)
        self._sid = f"CA{number:032x}"

    async def live(self) -> None:
        """From ring to hang-up."""
        await asyncio.sleep(self._chance.uniform(0, _RING_WITHIN_S))
        try:
            socket = await self._opened(await self._ring())
            self._outcome.sockets += 1
            await self._talk(socket)
            socket.close()
        except (OSError, EOFError, TimeoutError, Refused) as error:
            self._outcome.errors.append(repr(error))

    async def _ring(self) -> str:
        """The token of the call's socket."""
        number = self._order.numbers[self._number % len(self._order.numbers)]
        url = f"{self._order.base_url}/telephony/twilio/voice"
        said = {"AccountSid": ACCOUNT, "CallSid": self._sid, "CallStatus": "ringing"}
        said |= {"Direction": "inbound", "From": "+14155550123", "To": number}
        answer = await self._post(url, said)
        found = _TOKEN.search(answer)
        if found is None:
            raise Refused(answer)
        return unescape(found[1])

    async def _post(self, url: str, said: dict[str, str]) -> str:
        signature = RequestValidator(TOKEN).compute_signature(url, said)
        body = urlencode(said)
        request = (
            f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            f"X-Twilio-Signature: {signature}\r\n\r\n{body}"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._order.web_port)
        writer.write(request.encode())
        received = b""
        while not load.complete(received):
            chunk = await asyncio.wait_for(reader.read(65_536), _ANSWER_S)
            if not chunk:
                raise EOFError("closed before the answer")
            received += chunk
        writer.close()
        return received.decode()

    async def _opened(self, token: str) -> Socket:
        path = "/telephony/twilio/relay"
        url = f"{self._order.base_url}{path}".replace("http", "ws", 1)
        signature = RequestValidator(TOKEN).compute_signature(url, {})
        headers = {"X-Twilio-Signature": signature}
        socket = await Socket.opened(self._order.relay_port, urlsplit(url).path, headers)
        socket.tell(type="setup", callSid=self._sid, customParameters={"token": token})
        return socket

    async def _talk(self, socket: Socket) -> None:
        turn, words = 0, 12
        while True:
            await asyncio.sleep(self._pause_s(words))
            if time.perf_counter() > self._ends_at:
                return
            words = await asyncio.wait_for(self._turn(socket, turn), _ANSWER_S)
            turn += 1

    async def _turn(self, socket: Socket, turn: int) -> int:
        """One turn; how many words were said in it."""
        mark = f"turn-{self._number}-0-{turn}"
        began = time.perf_counter()
        socket.tell(type="prompt", voicePrompt=f"{_SAYS} {mark}", lang="en-GB", last=True)
        words = 0
        first_at = 0.0
        while True:
            frame = await socket.hear()
            if frame["type"] != "text":
                raise Refused(str(frame))
            first_at = first_at or time.perf_counter()
            words += len(frame["token"].split())
            if frame["last"]:
                break
        self._outcome.answered += 1
        if began > self._keeps_from:
            self._outcome.took_s[mark] = first_at - began
        return words

    def _pause_s(self, words: int) -> float:
        spoken = 0 if self._order.hurried else words + len(_SAYS.split())
        return spoken * 60 / WORDS_A_MINUTE + self._chance.uniform(*THINKS_S)
