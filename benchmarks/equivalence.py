"""Check that the hand-written app does VCA's work: same responses, same rows, same log line.

A difference ends the benchmark, because figures of unequal work cannot be compared.
"""

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import requests
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.requests import FakeCarrierCalls
from benchmarks.tenant_data import BenchmarkTenant
from benchmarks.web import WebServer

_REQUEST_ID = "sameness-of-both-apps"
_VARYING_VALUES = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|"
    rb"\d{4}-\d\d-\d\dT[0-9:.+]+Z?"
)
# Bodies are compared with their lengths. Only VCA has rate limits.
_IGNORED_HEADERS = ("date", "content-length", "ratelimit", "ratelimit-policy")
_ROWS = {
    "calls": "SELECT to_jsonb(row) FROM {schema}.calls row WHERE provider_call_id = %s",
    "call_events": "SELECT to_jsonb(row) FROM {schema}.call_events row WHERE call_id = ("
    "SELECT id FROM {schema}.calls WHERE provider_call_id = %s) ORDER BY event_key DESC",
    "turns": "SELECT to_jsonb(row) FROM {schema}.turns row WHERE call_id = ("
    "SELECT id FROM {schema}.calls WHERE provider_call_id = %s)",
    "events": "SELECT to_jsonb(row) FROM {schema}.events row WHERE data->>'call_id' = ("
    "SELECT id::text FROM {schema}.calls WHERE provider_call_id = %s) ORDER BY created_at",
}


class AppsDiffer(AssertionError):
    """The two apps differ."""


@dataclass(frozen=True)
class AppResponse:
    """The response of an app."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class AppPair:
    """VCA and the hand-written app, on the same database."""

    vca: WebServer
    by_hand: WebServer
    postgres: BenchmarkDatabase
    calls_for_app: Callable[[str], FakeCarrierCalls]
    _comparisons: int = field(default=0, init=False)

    def check(self, tenants: list[BenchmarkTenant]) -> int:
        """Compare both apps on several requests; return how many comparisons passed.

        Raises AppsDiffer.
        """
        self._compare_lists(tenants[:3], tenants[-1])
        self._compare_refusals(tenants[0], tenants[-1])
        for number, tenant in enumerate(tenants[:3]):
            self._compare_rings(tenant, f"same-{number}")
        self._compare_log_lines()
        return self._comparisons

    def _assert_same(self, label: str, vca: Any, by_hand: Any) -> None:
        if vca != by_hand:
            difference = f"  vca      {vca!r:.1500}\n  by hand  {by_hand!r:.1500}"
            raise AppsDiffer(f"{label} differ:\n{difference}")
        self._comparisons += 1

    def _compare_lists(self, tenants: list[BenchmarkTenant], other: BenchmarkTenant) -> None:
        for tenant in (*tenants, other):
            responses = self._request_both("GET", requests.list_path(tenant), tenant)
            self._assert_same(
                "bodies of the list", *(json.loads(response.body) for response in responses)
            )
            self._assert_same(
                "lengths of the list", *(len(response.body) for response in responses)
            )
            self._assert_same(
                "headers of the list", *(_comparable_headers(response) for response in responses)
            )
            rows = len(json.loads(responses[0].body))
            self._assert_same("rows of the list", (responses[0].status, rows), (200, 10))

    def _compare_refusals(self, tenant: BenchmarkTenant, other: BenchmarkTenant) -> None:
        foreign_key = self._request_both("GET", requests.list_path(other), tenant)
        self._assert_same(
            "responses to a foreign key", *(response.status for response in foreign_key)
        )
        self._assert_same("response to a foreign key and 404", foreign_key[0].status, 404)
        bad_key = {"Authorization": f"Bearer {tenant.api_keys['vca'][:-1]}?"}
        unauthorized = [
            _request(web, "GET", requests.list_path(tenant), bad_key) for web in self._servers
        ]
        self._assert_same("responses to a bad key", *(response.status for response in unauthorized))
        forged = self.calls_for_app("vca").signed_request("forged", tenant.number)
        bad_signature = {**requests.signed_headers(forged), "X-Fake-Signature": "0" * 64}
        forbidden = [
            _request(web, "POST", "/telephony/fake/voice", bad_signature, forged.body)
            for web in self._servers
        ]
        self._assert_same(
            "responses to a bad signature", *(response.status for response in forbidden)
        )
        self._assert_same("response to a bad signature and 403", forbidden[0].status, 403)

    def _compare_rings(self, tenant: BenchmarkTenant, call_id: str) -> None:
        first = [self._send_ring(web, app, tenant, call_id) for app, web in self._apps]
        self._assert_same("responses to a ring", *(_call_body(item) for item in first))
        self._assert_same(
            "headers of the response to a ring", *(_comparable_headers(item) for item in first)
        )
        schema = f'"t_{tenant.id.replace("-", "")}"'
        for table, statement in _ROWS.items():
            query = statement.format(schema=schema)
            rows = [
                self.postgres.execute(query, (_app_call_id(app, call_id),)) for app, _ in self._apps
            ]
            self._assert_same(
                f"rows in {table}", *(_normalise_rows(item, call_id) for item in rows)
            )
            self._assert_same(f"presence of rows in {table}", bool(rows[0]), True)
        repeated = [self._send_ring(web, app, tenant, call_id) for app, web in self._apps]
        for first_response, repeated_response in zip(first, repeated, strict=True):
            self._assert_same(
                "responses to a ring and its repetition",
                first_response.body,
                repeated_response.body,
            )

    def _send_ring(
        self, web: WebServer, app: str, tenant: BenchmarkTenant, call_id: str
    ) -> AppResponse:
        signed = self.calls_for_app(app).signed_request(_app_call_id(app, call_id), tenant.number)
        return _request(
            web, "POST", "/telephony/fake/voice", requests.signed_headers(signed), signed.body
        )

    def _compare_log_lines(self) -> None:
        """Check that both apps logged every request of this check, with the same fields."""
        lines = [_request_log_lines(web) for web in self._servers]
        self._assert_same("log lines", *lines)
        self._assert_same("presence of log lines", len(lines[0]) > 0, True)

    def _request_both(self, method: str, path: str, tenant: BenchmarkTenant) -> list[AppResponse]:
        return [
            _request(web, method, path, requests.list_headers(tenant, app))
            for app, web in self._apps
        ]

    @property
    def _apps(self) -> list[tuple[str, WebServer]]:
        return [("vca", self.vca), ("by_hand", self.by_hand)]

    @property
    def _servers(self) -> list[WebServer]:
        return [self.vca, self.by_hand]


def _request(
    web: WebServer, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> AppResponse:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    try:
        connection.request(method, path, body or None, {**headers, "X-Request-Id": _REQUEST_ID})
        response = connection.getresponse()
        if response.status >= 500:
            raise AppsDiffer(f"{path}: {response.status}\n{web.log_file.read_text()[-3_000:]}")
        return AppResponse(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def _comparable_headers(response: AppResponse) -> dict[str, str]:
    """Return the response headers that are compared.

    Length and date are not, nor the state of the rate limits, which only VCA has.
    """
    return {
        name.lower(): value
        for name, value in sorted(response.headers.items())
        if name.lower() not in _IGNORED_HEADERS
    }


def _call_body(response: AppResponse) -> dict[str, Any]:
    """Return the response to a ring; its token is replaced by whether there is one."""
    if response.status != 200:
        raise AppsDiffer(f"a ring got status {response.status}: {response.body!r}")
    body: dict[str, Any] = json.loads(response.body)
    return {**body, "state": body["state"] is not None}


def _app_call_id(app: str, call_id: str) -> str:
    return f"{app}-{call_id}"


def _normalise_rows(rows: list[tuple[object, ...]], call_id: str) -> bytes:
    """Return rows without ids and times."""
    text = json.dumps(rows, sort_keys=True)
    for app in ("vca", "by_hand"):
        text = text.replace(_app_call_id(app, call_id), "the call")
    return _VARYING_VALUES.sub(b"-", text.encode())


def _request_log_lines(web: WebServer) -> list[tuple[Any, ...]]:
    """Return names and fixed values of the request log lines of this check."""
    entries = []
    for text in web.log_file.read_text().splitlines():
        if _REQUEST_ID not in text:
            continue
        line = json.loads(text)
        if line["event"] == "request" and line["status"] == 200:
            entries.append((sorted(line), line["method"], line["path"], line.get("tenant_id")))
    return entries
