"""The clients beside which the quiet tenant is measured: busy tenants, and strangers without a key.

Each runs until it is stopped, and returns how many responses it got, by their status. A client that
is refused with 429 waits for a second and tries again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, TypeAlias

from benchmarks import hostile_schemas, requests
from benchmarks.neighbours.http_client import HttpClient, Response

RECEIVERS, RECEIVER_DELAY_S, FIRST_TEST_EVENTS = 20, 13.0, 3
SIMULATIONS, MODEL_DELAY_S = 45, 3.0
SLOW_CONNECTIONS, DRIP_INTERVAL_S = 24, 0.5
SCHEMAS_PER_S = 4.0
EXPORTS, EXPORTS_PER_S = 400, 50.0
HANDSHAKES_PER_S = 100.0
STRANGER_ADDRESSES = tuple(f"127.0.0.{host}" for host in range(2, 7))
_RESPONSE_TIMEOUT_S = 30.0
_RETRY_PAUSE_S = 1.0
_TEST_EVENTS_INTERVAL_S = 5.0
_SLOW_BODY_LENGTH = 4_000
_HANDSHAKE_HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


@dataclass(frozen=True)
class BusyClientPlan:
    """Where the service is, and the busy tenant. `scenario` is a name in SCENARIOS."""

    scenario: str
    port: int
    relay_port: int
    tenant_id: str
    api_key: str
    number: str
    seed: int


async def run(
    plan: BusyClientPlan, report_ready: Callable[[], None], stop: asyncio.Event
) -> Counter[int]:
    """Run the busy client of the scenario until it is stopped."""
    client = _BusyClient(plan)
    prepare, load = SCENARIOS[plan.scenario]
    if prepare is not None:
        await prepare(client)
    report_ready()
    load_task = asyncio.create_task(load(client))
    stop_task = asyncio.create_task(stop.wait())
    await asyncio.wait((load_task, stop_task), return_when=asyncio.FIRST_COMPLETED)
    if load_task.done() and (error := load_task.exception()) is not None:
        raise error
    await stop.wait()
    load_task.cancel()
    with suppress(asyncio.CancelledError):
        await load_task
    return client.statuses


class _BusyClient:
    def __init__(self, plan: BusyClientPlan) -> None:
        self.statuses: Counter[int] = Counter()
        self._plan = plan
        self._path = f"/api/tenants/{plan.tenant_id}"
        self._client = HttpClient(plan.port, _RESPONSE_TIMEOUT_S)
        self._webhook_ids: list[str] = []
        self._profile_id = ""
        self._rng = Random(plan.seed)

    async def create_webhooks(self) -> None:
        """Create as many webhooks as a tenant may have, with a receiver that answers late."""
        server = await asyncio.start_server(_answer_late, "127.0.0.1", 0, backlog=256)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"
        for _ in range(RECEIVERS):
            created = await self._request("POST", "/webhooks", {"url": url})
            self._webhook_ids.append(created.json()["id"])

    async def send_test_events(self) -> None:
        """Send test events to all webhooks, again and again."""
        for repetition in count():
            for _ in range(1 if repetition else FIRST_TEST_EVENTS):
                for webhook_id in self._webhook_ids:
                    await self._request("POST", f"/webhooks/{webhook_id}/test")
            await asyncio.sleep(_TEST_EVENTS_INTERVAL_S)

    async def run_simulations(self) -> None:
        """Talk in many simulations at the same time."""
        await asyncio.gather(*(self._run_simulation() for _ in range(SIMULATIONS)))

    async def _run_simulation(self) -> None:
        call_id = ""
        while True:
            response = await (
                self._request("POST", f"/simulations/{call_id}/turns", {"text": "Are you open?"})
                if call_id
                else self._request("POST", "/simulations", {"to": self._plan.number})
            )
            if response.status == 201:
                call_id = response.json()["call_id"]
            elif response.status != 200:
                await asyncio.sleep(_RETRY_PAUSE_S)

    async def send_slow_bodies(self) -> None:
        """Send request bodies one byte at a time, with an API key."""
        await self._keep_slow_connections(self._slow_body_head(self._plan.api_key))

    async def send_slow_requests_without_key(self) -> None:
        """Send as many bodies and heads one byte at a time, without a key that is valid."""
        await asyncio.gather(
            self._keep_slow_connections(self._slow_body_head("vca_no_key")),
            self._keep_slow_connections(b"POST /telephony/twilio/voice HTTP/1.1\r\nX-Slow: "),
        )

    async def create_profile(self) -> None:
        """Create the profile whose schema is changed."""
        created = await self._request("POST", "/ai-profiles", {"system_prompt": "Be kind."})
        self._profile_id = created.json()["id"]

    async def save_schemas(self) -> None:
        """Save expensive schemas at a steady pace."""
        await self._send_at_pace(SCHEMAS_PER_S, self._save_schema)

    async def order_exports(self) -> None:
        """Order many exports at the start."""
        await self._send_at_pace(EXPORTS_PER_S, self._order_export, EXPORTS)

    async def open_websockets(self) -> None:
        """Send handshakes of voice WebSockets from a few addresses at a steady pace."""
        await self._send_at_pace(HANDSHAKES_PER_S, self._send_handshake)

    async def _save_schema(self, index: int) -> None:
        schema, _ = hostile_schemas.generate(self._rng)
        await self._request("PATCH", f"/ai-profiles/{self._profile_id}", {"extract": schema})

    async def _order_export(self, index: int) -> None:
        await self._request("POST", "/privacy/export", {"number": f"+44207946{index:04}"})

    async def _send_handshake(self, index: int) -> None:
        carrier = ("twilio", "telnyx")[index % 2]
        head = requests.encode_request("GET", f"/telephony/{carrier}/relay", _HANDSHAKE_HEADERS)
        address = STRANGER_ADDRESSES[index % len(STRANGER_ADDRESSES)]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._plan.relay_port, local_addr=(address, 0)
        )
        try:
            writer.write(head)
            await self._count_response(reader)
            await reader.read(1)  # until the service closes the connection
        finally:
            writer.close()

    async def _keep_slow_connections(self, head: bytes) -> None:
        await asyncio.gather(*(self._repeat_slow_request(head) for _ in range(SLOW_CONNECTIONS)))

    async def _repeat_slow_request(self, head: bytes) -> None:
        while True:
            with suppress(OSError, EOFError):
                await self._send_slow_request(head)
            await asyncio.sleep(_RETRY_PAUSE_S)

    async def _send_slow_request(self, head: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._plan.port)
        response = asyncio.create_task(self._count_response(reader))
        try:
            writer.write(head)
            while not response.done():
                await asyncio.wait((response,), timeout=DRIP_INTERVAL_S)
                writer.write(b" ")
                await writer.drain()
        finally:
            response.cancel()
            writer.close()

    def _slow_body_head(self, api_key: str) -> bytes:
        headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Content-Length": str(_SLOW_BODY_LENGTH),
        }
        return requests.encode_request("POST", f"{self._path}/ai-profiles", headers)

    async def _send_at_pace(
        self, per_second: float, send: Callable[[int], Awaitable[None]], number: int | None = None
    ) -> None:
        """Start a request whenever one is due, whether or not others have been answered."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        tasks: set[asyncio.Task[None]] = set()
        for index in count() if number is None else range(number):
            await asyncio.sleep(max(0.0, started_at + index / per_second - loop.time()))
            task = asyncio.create_task(self._ignore_lost_connections(send, index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _ignore_lost_connections(
        self, send: Callable[[int], Awaitable[None]], index: int
    ) -> None:
        with suppress(OSError, EOFError, TimeoutError):
            await send(index)

    async def _count_response(self, reader: asyncio.StreamReader) -> None:
        line = await reader.readline()
        if line:
            self.statuses[int(line.split()[1])] += 1

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Response:
        headers = {"Authorization": f"Bearer {self._plan.api_key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = b"" if body is None else json.dumps(body).encode()
        request = requests.encode_request(method, f"{self._path}{path}", headers, content)
        response = await self._client.send(request)
        self.statuses[response.status] += 1
        return response


async def _answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a webhook delivery after some seconds."""
    with suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(RECEIVER_DELAY_S)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()


_Step: TypeAlias = Callable[[_BusyClient], Coroutine[None, None, None]]
SCENARIOS: Mapping[str, tuple[_Step | None, _Step]] = {
    f"{RECEIVERS} webhook receivers that answer after {RECEIVER_DELAY_S:g} s": (
        _BusyClient.create_webhooks,
        _BusyClient.send_test_events,
    ),
    f"{SIMULATIONS} simulations with a model that takes {MODEL_DELAY_S:g} s": (
        None,
        _BusyClient.run_simulations,
    ),
    f"{SLOW_CONNECTIONS} slow bodies with a key": (None, _BusyClient.send_slow_bodies),
    f"{SLOW_CONNECTIONS} slow bodies and {SLOW_CONNECTIONS} slow heads without a key": (
        None,
        _BusyClient.send_slow_requests_without_key,
    ),
    f"{SCHEMAS_PER_S:g} expensive schemas per second": (
        _BusyClient.create_profile,
        _BusyClient.save_schemas,
    ),
    f"{EXPORTS} exports": (None, _BusyClient.order_exports),
    f"{HANDSHAKES_PER_S:g} WebSocket handshakes per second from "
    f"{len(STRANGER_ADDRESSES)} addresses": (None, _BusyClient.open_websockets),
}
