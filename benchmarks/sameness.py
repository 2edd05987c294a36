"""The proof that the hand-written app does VCA's work: same answers, same rows, same log line.

A difference ends the benchmark: figures of unequal work say nothing.
"""

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import requests
from benchmarks.postgres import Postgres
from benchmarks.requests import Calls
from benchmarks.web import Web
from benchmarks.world import Tenant

_REQUEST_ID = "sameness-of-both-apps"
_PASSING = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|"
    rb"\d{4}-\d\d-\d\dT[0-9:.+]+Z?"
)
_ROWS = {
    "calls": "SELECT to_jsonb(row) FROM {schema}.calls row WHERE provider_call_id = %s",
    "call_events": "SELECT to_jsonb(row) FROM {schema}.call_events row WHERE call_id = ("
    "SELECT id FROM {schema}.calls WHERE provider_call_id = %s) ORDER BY event_key DESC",
    "turns": "SELECT to_jsonb(row) FROM {schema}.turns row WHERE call_id = ("
    "SELECT id FROM {schema}.calls WHERE provider_call_id = %s)",
    "events": "SELECT to_jsonb(row) FROM {schema}.events row WHERE data->>'call_id' = ("
    "SELECT id::text FROM {schema}.calls WHERE provider_call_id = %s) ORDER BY created_at",
}


class NotTheSame(AssertionError):
    """The two apps differ."""


@dataclass(frozen=True)
class Answer:
    """What an app answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Pair:
    """VCA and the hand-written app, on the same database."""

    vca: Web
    by_hand: Web
    postgres: Postgres
    calls: Callable[[str], Calls]
    _held: int = field(default=0, init=False)

    def check(self, tenants: list[Tenant]) -> int:
        """Compare both on several requests; how many comparisons held. Raises NotTheSame."""
        self._lists(tenants[:3], tenants[-1])
        self._refusals(tenants[0], tenants[-1])
        for number, tenant in enumerate(tenants[:3]):
            self._ring(tenant, f"same-{number}")
        self._log_lines()
        return self._held

    def _same(self, what: str, vca: Any, by_hand: Any) -> None:
        if vca != by_hand:
            told = f"  vca      {vca!r:.1500}\n  by hand  {by_hand!r:.1500}"
            raise NotTheSame(f"{what} differ:\n{told}")
        self._held += 1

    def _lists(self, tenants: list[Tenant], other: Tenant) -> None:
        for tenant in (*tenants, other):
            answers = self._both("GET", requests.list_path(tenant), tenant)
            self._same("bodies of the list", *(json.loads(one.body) for one in answers))
            self._same("lengths of the list", *(len(one.body) for one in answers))
            self._same("headers of the list", *(_headers(one) for one in answers))
            rows = len(json.loads(answers[0].body))
            self._same("rows of the list", (answers[0].status, rows), (200, 10))

    def _refusals(self, tenant: Tenant, other: Tenant) -> None:
        foreign = self._both("GET", requests.list_path(other), tenant)
        self._same("answers to a foreign key", *(one.status for one in foreign))
        self._same("answer to a foreign key and 404", foreign[0].status, 404)
        broken = {"Authorization": f"Bearer {tenant.keys['vca'][:-1]}?"}
        keyless = [_ask(web, "GET", requests.list_path(tenant), broken) for web in self._webs]
        self._same("answers to a bad key", *(one.status for one in keyless))
        forged = self.calls("vca").carried("forged", tenant.number)
        bad = {**requests.headers(forged), "X-Fake-Signature": "0" * 64}
        refused = [
            _ask(web, "POST", "/telephony/fake/voice", bad, forged.body) for web in self._webs
        ]
        self._same("answers to a bad signature", *(one.status for one in refused))
        self._same("answer to a bad signature and 403", refused[0].status, 403)

    def _ring(self, tenant: Tenant, call_id: str) -> None:
        first = [self._rings(web, app, tenant, call_id) for app, web in self._named]
        self._same("answers to a ring", *(_call_body(one) for one in first))
        self._same("headers of a ring's answer", *(_headers(one) for one in first))
        schema = f'"t_{tenant.id.replace("-", "")}"'
        for table, statement in _ROWS.items():
            query = statement.format(schema=schema)
            rows = [self.postgres.run(query, (_call_id(app, call_id),)) for app, _ in self._named]
            self._same(f"rows in {table}", *(_plain(one, call_id) for one in rows))
            self._same(f"presence of rows in {table}", bool(rows[0]), True)
        again = [self._rings(web, app, tenant, call_id) for app, web in self._named]
        for before, after in zip(first, again, strict=True):
            self._same("a ring's answer and its repetition's", before.body, after.body)

    def _rings(self, web: Web, app: str, tenant: Tenant, call_id: str) -> Answer:
        carried = self.calls(app).carried(_call_id(app, call_id), tenant.number)
        return _ask(web, "POST", "/telephony/fake/voice", requests.headers(carried), carried.body)

    def _log_lines(self) -> None:
        """Both wrote a line for every request of this proof, with the same fields in it."""
        lines = [_logged(web) for web in self._webs]
        self._same("log lines", *lines)
        self._same("presence of log lines", len(lines[0]) > 0, True)

    def _both(self, method: str, path: str, tenant: Tenant) -> list[Answer]:
        return [
            _ask(web, method, path, requests.list_headers(tenant, app)) for app, web in self._named
        ]

    @property
    def _named(self) -> list[tuple[str, Web]]:
        return [("vca", self.vca), ("by_hand", self.by_hand)]

    @property
    def _webs(self) -> list[Web]:
        return [self.vca, self.by_hand]


def _ask(web: Web, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    try:
        connection.request(method, path, body or None, {**headers, "X-Request-Id": _REQUEST_ID})
        answer = connection.getresponse()
        if answer.status >= 500:
            raise NotTheSame(f"{path}: {answer.status}\n{web.log.read_text()[-3_000:]}")
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def _headers(answer: Answer) -> dict[str, str]:
    """What the app said beside the body; its length and the moment are not compared."""
    return {
        name.lower(): value
        for name, value in sorted(answer.headers.items())
        if name.lower() not in ("date", "content-length")
    }


def _call_body(answer: Answer) -> dict[str, Any]:
    """The answer to a ring; of its token only that there is one."""
    if answer.status != 200:
        raise NotTheSame(f"a ring was answered {answer.status}: {answer.body!r}")
    body: dict[str, Any] = json.loads(answer.body)
    return {**body, "state": body["state"] is not None}


def _call_id(app: str, call_id: str) -> str:
    return f"{app}-{call_id}"


def _plain(rows: list[tuple[object, ...]], call_id: str) -> bytes:
    """Rows without ids and times."""
    text = json.dumps(rows, sort_keys=True)
    for app in ("vca", "by_hand"):
        text = text.replace(_call_id(app, call_id), "the call")
    return _PASSING.sub(b"-", text.encode())


def _logged(web: Web) -> list[tuple[Any, ...]]:
    """Names and fixed values of the request lines of this proof."""
    found = []
    for text in web.log.read_text().splitlines():
        if _REQUEST_ID not in text:
            continue
        line = json.loads(text)
        if line["event"] == "request" and line["status"] == 200:
            found.append((sorted(line), line["method"], line["path"], line.get("tenant_id")))
    return found
