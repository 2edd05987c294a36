"""The load of the quiet tenant, whose service is measured. Requests are due by the clock."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from benchmarks import requests
from benchmarks.neighbours.http_client import HttpClient, Response
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

# Requests per second. Each POST is followed by a DELETE, and each inbound call by its end.
RATES = {"GET": 10.0, "POST": 2.0, "inbound call": 1.0, "outbound call": 0.2}
CALLEE = "+442079460001"
_RESPONSE_TIMEOUT_S = 10.0
_CALL_DURATION_S = 0.5


@dataclass(frozen=True)
class QuietTenantPlan:
    """The tenant, and for how long it sends requests. `run` numbers the rounds."""

    port: int
    base_url: str
    secret_key: str
    tenant_id: str
    api_key: str
    number: str
    phone_number_id: str
    seconds: float
    run: int


@dataclass
class QuietTenantResult:
    """Latencies by kind of request, statuses, the ids of outbound calls, and other failures."""

    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    outbound_call_ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def all_latencies_s(self) -> list[float]:
        """The latencies of all requests."""
        return [latency for latencies in self.latencies_s.values() for latency in latencies]

    @property
    def server_errors(self) -> int:
        """How many responses had a status of 500 or more."""
        return sum(number for status, number in self.statuses.items() if status >= 500)

    @property
    def unsuccessful_requests(self) -> int:
        """How many requests had another result than a status of 2xx."""
        unsuccessful = sum(
            number for status, number in self.statuses.items() if not 200 <= status < 300
        )
        return unsuccessful + len(self.failures)


async def run(
    plan: QuietTenantPlan, report_ready: Callable[[], None], stop: asyncio.Event
) -> QuietTenantResult:
    """Send the load for the time of the plan, then wait for the outstanding responses."""
    quiet_tenant = _QuietTenant(plan)
    report_ready()
    senders = {
        "GET": quiet_tenant.list_numbers,
        "POST": quiet_tenant.create_profile,
        "inbound call": quiet_tenant.receive_call,
        "outbound call": quiet_tenant.place_call,
    }
    await asyncio.gather(
        *(quiet_tenant.send_at_pace(RATES[kind], sender) for kind, sender in senders.items())
    )
    quiet_tenant.close()
    return quiet_tenant.result


class _QuietTenant:
    def __init__(self, plan: QuietTenantPlan) -> None:
        self.result = QuietTenantResult()
        self._plan = plan
        self._client = HttpClient(plan.port, _RESPONSE_TIMEOUT_S)
        self._carrier = FakeTelephonyAdapter(f"fake-carrier|{plan.secret_key}")
        self._path = f"/api/tenants/{plan.tenant_id}"

    async def send_at_pace(self, per_second: float, send: Callable[[int], Awaitable[None]]) -> None:
        """Start a request whenever one is due, whether or not others have been answered."""
        started_at = time.perf_counter()
        tasks = []
        for index in count():
            due_at = started_at + index / per_second
            if due_at >= started_at + self._plan.seconds:
                break
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            tasks.append(asyncio.create_task(self._send_or_record_failure(send, index)))
        await asyncio.gather(*tasks)

    async def list_numbers(self, index: int) -> None:
        """Read one page of a list."""
        await self._request("GET", "GET", f"{self._path}/phone-numbers")

    async def create_profile(self, index: int) -> None:
        """Create a profile and delete it."""
        body = {
            "name": f"Profile {self._plan.run}-{index}",
            "role": "receptionist",
            "system_prompt": "You answer the telephone of a small firm. Be brief and kind.",
        }
        created = await self._request("POST", "POST", f"{self._path}/ai-profiles", body)
        if created.status == 201:
            profile_path = f"{self._path}/ai-profiles/{created.json()['id']}"
            await self._request("DELETE", "DELETE", profile_path)

    async def receive_call(self, index: int) -> None:
        """Receive a call, which the caller ends soon."""
        call_id = f"quiet-{self._plan.run}-{index}"
        fields = {"to": self._plan.number, "from": requests.CALLER}
        answer = await self._send_event("voice", call_id, **fields)
        if answer.status == 200:
            await asyncio.sleep(_CALL_DURATION_S)
            state = answer.json()["state"]
            await self._send_event("status", call_id, state=state, status="completed")

    async def place_call(self, index: int) -> None:
        """Order an outbound call."""
        body = {"to": CALLEE, "from_phone_number_id": self._plan.phone_number_id}
        ordered = await self._request("outbound call", "POST", f"{self._path}/calls", body)
        if ordered.status == 202:
            self.result.outbound_call_ids.append(ordered.json()["id"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def _send_or_record_failure(
        self, send: Callable[[int], Awaitable[None]], index: int
    ) -> None:
        try:
            await send(index)
        except (OSError, EOFError, TimeoutError) as error:
            self.result.failures.append(repr(error))

    async def _request(
        self, kind: str, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Response:
        headers = {"Authorization": f"Bearer {self._plan.api_key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = b"" if body is None else json.dumps(body).encode()
        return await self._measure(kind, requests.encode_request(method, path, headers, content))

    async def _send_event(self, action: str, call_id: str, **fields: str) -> Response:
        base = f"{self._plan.base_url}/telephony/fake/"
        signed = self._carrier.signed_request(action, base, call_id=call_id, **fields)
        headers = requests.signed_headers(signed)
        path = urlsplit(signed.url).path
        request = requests.encode_request("POST", path, headers, signed.body)
        return await self._measure("inbound call", request)

    async def _measure(self, kind: str, request: bytes) -> Response:
        started_at = time.perf_counter()
        try:
            response = await self._client.send(request)
        finally:  # a request without a response counts with the time that it took
            latencies_s = self.result.latencies_s.setdefault(kind, [])
            latencies_s.append(time.perf_counter() - started_at)
        self.result.statuses[response.status] += 1
        return response
