"""The hostile table: every payload in every field, parameter and header of every operation.

Computed from the OpenAPI document, thousands of requests through the whole application. Whatever is
sent: no answer of 500 or more, each refusal is a problem document that names the field at fault and
tells nothing of our insides, a refused write leaves nothing behind, an accepted one is what the
document allows, and no trick shows more rows than were asked for.
"""

import json as standard
import math
import re
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, product
from time import process_time
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

from tests.support import payloads
from tests.support.api import ApiResponse, ResponseValidator, without_request_id
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Platform
from tests.support.operations import (
    BodyField,
    Operation,
    build_body,
    distinct_operation_fields,
    error_names_field,
    non_overlapping,
    replace_values,
)
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient, body_values
from vca.kit import clock, json
from vca.registry.idempotency import service as idempotency
from vca.registry.models import metadata as public_tables
from vca.telephony import providers
from vca.tenancy.session import public_session
from vca.tenant.models import metadata as tenant_tables

LEAST_KINDS = 40
# As many columns are named in one body; a refusal has to name every one of them.
AT_ONCE = 10
# What an answer would hold if it told of our insides.
_INSIDES = re.compile(
    r"Traceback|File \"|\.py\b|psycopg|sqlalchemy|werkzeug|marshmallow|site-packages|/tmp/"
    r"|\bSELECT\b|\bINSERT\b|\bUPDATE\b|\bDELETE FROM\b|\bpg_\w+|sqlstate|Exception|\w+Error\b"
)
# Of payloads.HEADERS.
_REFUSED = ("idempotency key", "content length")
_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Problem documents that were looked at, but for their requests' ids.
_FAULTLESS: set[tuple[int, str, bytes]] = set()
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass
class Table:
    """Sends hostile requests and collects what was wrong with the answers."""

    app: Flask
    openapi: ResponseValidator
    here: PopulatedTenant
    platform: Platform
    evidence: SnapshotChecker
    faults: list[str] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        self._client = self.app.test_client(use_cookies=False)
        self.mark()

    def key(self, operation: Operation) -> str | None:
        """The key that may do it."""
        if not operation.needs_key:
            return None
        own = operation.path.startswith("/api/tenants/{tenant_id}/") or "/me" in operation.path
        own = own and not operation.platform_only
        return self.here.tenant.key if own else self.platform.key

    def url(self, operation: Operation, **ids: str) -> str:
        known = {**self.here.path_ids(operation.path), "provider": "fake", "action": "voice"}
        return operation.url({**known, **ids})

    def send(
        self,
        operation: Operation,
        what: str,
        *,
        url: str | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        environ: dict[str, str] | None = None,
        method: str | None = None,
        described: bool = True,
    ) -> ApiResponse:
        """One request; its answer has been judged, and so has what it left behind."""
        sent = {"Authorization": f"Bearer {self.key(operation)}"} if operation.needs_key else {}
        if data is not None:
            sent["Content-Type"] = "application/json"
        url = url or self.url(operation)
        answer = self._client.open(
            url,
            method=method or operation.method,
            data=data,
            headers={**sent, **(headers or {})},
            environ_overrides=environ,
        )
        self.sent += 1
        where = f"{method or operation.method} {operation.path} · {what}"
        if described:
            try:
                self.openapi.check_response(method or operation.method, operation.path, answer)
            except AssertionError as error:
                self.faults.append(f"{where}: {error}")
        self.faults += [f"{where}: {fault}" for fault in _faults(answer)]
        if answer.status_code < 300 and (operation.is_audited or operation.method != "GET"):
            self.mark()
        elif operation.method != "GET":
            self._unchanged(where)
        return answer

    def mark(self) -> None:
        """What is in the database now is as it should be."""
        self._transaction = self.evidence.next_transaction()
        self._marks = self.evidence.write_markers(self.here.tenant.id)

    def _unchanged(self, where: str) -> None:
        """A refusal leaves nothing behind; while nobody got a transaction id, nobody wrote."""
        if self.evidence.next_transaction() == self._transaction:
            return
        before = self._marks
        self.mark()
        if self._marks != before:
            self.faults.append(f"{where}: was refused, and changed the database")

    def blame(self, where: str) -> None:
        self.faults.append(where)

    def verdict(self, at_least: int) -> None:
        self._unchanged("a reading request")
        assert not self.faults, f"{len(self.faults)} faults\n" + "\n".join(self.faults[:40])
        assert self.sent >= at_least


@pytest.fixture
def table(
    app: Flask,
    openapi: ResponseValidator,
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> Table:
    """The table, at furnished Acme."""
    return Table(app, openapi, populated_acme, platform, db_snapshot)


def test_the_table_has_payloads_of_enough_kinds() -> None:
    assert len(payloads.JSON) + len(payloads.UNREADABLE) >= LEAST_KINDS
    assert len(payloads.QUERY) + len(payloads.RAW_QUERY) >= LEAST_KINDS
    assert len(payloads.BODIES) >= LEAST_KINDS
    assert len(payloads.HEADERS) + len(payloads.AUTHORIZATIONS) >= LEAST_KINDS
    assert len(payloads.IDS) >= 25


def test_the_bodies_that_the_table_spoils_are_good_ones(
    table: Table, all_operations: list[Operation]
) -> None:
    writing = [operation for operation in all_operations if operation.fields]

    for operation in writing:
        good = json.dumps(build_body(operation, body_values(table.here)))
        answer = table.send(operation, "a good body", data=good)

        # A good order to transfer, to a target that the call's profile does not name.
        nowhere = operation.path.endswith("/transfer") and "unknown-target" in answer.text
        assert nowhere or answer.status_code < 300, f"{operation.name}: {answer.text}"
    table.verdict(at_least=10)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_no_value_in_a_body_breaks_anything(
    method: str, table: Table, all_operations: list[Operation], openapi: ResponseValidator
) -> None:
    places = list(_places(all_operations))
    first = _first((operation, place.pointer, place.schema) for operation, place in places)
    read: set[tuple[str, str]] = set()
    begun: set[Operation] = set()
    spoilt: dict[tuple[Operation, str, str], list[BodyField]] = defaultdict(list)

    for operation, place in places:
        kinds = {kind: payloads.JSON[kind] for kind in payloads.WORST}
        if (place.pointer, str(place.schema)) not in read:
            kinds = dict(payloads.JSON)
        if operation not in begun:
            kinds |= payloads.UNREADABLE
        if (operation, place.pointer) in first:
            texts = payloads.texts(place.schema).items()
            kinds |= payloads.JSON | payloads.UNREADABLE | payloads.JSON_ONCE
            kinds |= {kind: json.dumps(text).decode() for kind, text in texts}
        read.add((place.pointer, str(place.schema)))
        begun.add(operation)
        for kind, raw in kinds.items() if operation.method == method else ():
            spoilt[operation, kind, raw].append(place)
    for (operation, kind, raw), together in spoilt.items():
        for lot in non_overlapping(together):
            _spoil_together(table, openapi, operation, lot, kind, raw)

    table.verdict(at_least=500)
    assert sum(map(len, spoilt.values())) >= 1_500


def _spoil_together(
    table: Table,
    openapi: ResponseValidator,
    operation: Operation,
    lot: list[BodyField],
    kind: str,
    raw: str,
) -> None:
    """A refusal names every field at fault: the rest is tried again, and at last each alone.

    What our reader refuses is shown to no field. It names the first, which then stands for all, or
    the text as a whole: then that one is tried alone.
    """
    while len(lot) > 1:
        data = replace_values(build_body(operation, body_values(table.here)), raw, *lot)
        what = f"{len(lot)} fields · {kind}"
        answer = table.send(operation, what, data=data)
        if answer.status_code < 300:
            _judge_accepted(table, openapi, operation, what, data)
            return
        if answer.status_code == 400 and not _is_read(raw):
            lot = lot[:1]
        rest = [place for place in lot if not error_names_field(answer, place.pointer)]
        if len(rest) == len(lot):
            break
        lot = rest
    for place in lot:
        _spoil(table, openapi, operation, place, kind, raw)


@cache
def _is_read(raw: str) -> bool:
    try:
        json.strict_loads(raw.encode("utf-8", "surrogatepass"))
    except json.InvalidJson:
        return False
    return True


def _places(catalogue: list[Operation]) -> Iterator[tuple[Operation, BodyField]]:
    """Every field that is looked into, in the document's order."""
    wanted = distinct_operation_fields(catalogue)
    for operation in catalogue:
        for place in operation.distinct_fields:
            if (operation, place.pointer) in wanted:
                yield operation, place


def _spoil(
    table: Table,
    openapi: ResponseValidator,
    operation: Operation,
    place: BodyField,
    kind: str,
    raw: str,
) -> None:
    data = replace_values(build_body(operation, body_values(table.here)), raw, place)
    what = f"{place.pointer} · {kind}"
    answer = table.send(operation, what, data=data)
    if answer.status_code < 300:
        _judge_accepted(table, openapi, operation, what, data)
    elif answer.status_code == 400 and not error_names_field(answer, place.pointer):
        text_at_fault = answer.json["code"] == "unreadable-body" and not _read(data)[0]
        if not text_at_fault:
            table.blame(f"{operation.name} · {what}: the field is not named in {answer.text[:300]}")


def _judge_accepted(
    table: Table, openapi: ResponseValidator, operation: Operation, what: str, data: bytes
) -> None:
    readable, value = _read(data)
    schema = operation.specification["requestBody"]["content"]["application/json"]["schema"]
    kept = readable and _keepable(value)
    wrong = openapi.schema_errors(schema, value) if kept else ["it cannot be kept as it is"]
    if wrong:
        table.blame(f"{operation.name} · {what}: was accepted, but {wrong}")


def test_no_whole_body_breaks_anything(table: Table, all_operations: list[Operation]) -> None:
    for operation in all_operations:
        if not operation.fields:
            continue
        for kind, (data, headers, status) in payloads.BODIES.items():
            answer = table.send(operation, kind, data=data, headers=headers)

            if answer.status_code != status:
                table.blame(f"{operation.name} · {kind}: {answer.status_code}, not {status}")

    table.verdict(at_least=500)


def test_no_body_of_the_largest_size_keeps_a_worker_busy(
    table: Table, all_operations: list[Operation]
) -> None:
    profiles = next(
        each for each in all_operations if each.name.startswith("POST") and _speaks(each)
    )
    floods = {
        kind: b'{"%s": ' % name + opening + b",".join([item] * 4_900) + closing + b"}"
        for name, opening, item, closing in (
            (b"end_phrases", b"[", b"1", b"]"),
            (b"end_phrases", b"[", b"[]", b"]"),
            (b"tools", b"[", b'"a"', b"]"),
        )
        for kind in [f"4,900 of {item!r}"]
    }
    floods["4,900 entries"] = json.dumps({"transfer_targets": {str(i): {} for i in range(4_900)}})
    floods["4,900 unknown keys"] = json.dumps({f"k{i}": 1 for i in range(4_900)})
    floods["a pattern"] = json.dumps({"extract": {"pattern": "(a|b)*" * 3_000}})

    for kind, data in floods.items():
        began = process_time()
        table.send(profiles, kind, data=data)

        if process_time() - began > 0.75:
            table.blame(f"{kind} took {process_time() - began:.2f} s")
    table.verdict(at_least=5)


def _speaks(operation: Operation) -> bool:
    return any(place.pointer == "/end_phrases" for place in operation.fields)


def test_no_column_can_be_set_that_is_not_a_field(
    table: Table, all_operations: list[Operation]
) -> None:
    columns = {
        name
        for tables in (public_tables, tenant_tables)
        for each in tables.tables.values()
        for column in each.columns
        for name in (column.name, column.key)
    } | {"is_admin", "schema", "key", "registration", "duration_seconds", "__class__", "_sa"}
    assert {"id", "tenant_id", "status", "version", "key_hash", "revoked_at"} <= columns
    tried = 0

    for operation in all_operations:
        if not operation.fields:
            continue
        good = build_body(operation, body_values(table.here))
        for names in _batches(sorted(columns - good.keys()), AT_ONCE):
            sent = json.dumps({**good, **dict.fromkeys(names, table.here.tenant.id)})
            answer = table.send(operation, f"mass assignment of {names}", data=sent)

            taken = [name for name in names if not error_names_field(answer, f"/{name}")]
            if answer.status_code != 400 or taken:
                table.blame(f"{operation.name} takes {taken}: {answer.text[:200]}")
            tried += len(names)

    table.verdict(at_least=100)
    assert tried >= 1_500


def test_no_query_breaks_anything_or_shows_more_rows(
    table: Table, all_operations: list[Operation]
) -> None:
    first = _first(
        (operation, name, schema)
        for operation in all_operations
        for name, schema in operation.query.items()
    )
    read: set[tuple[str, str]] = set()
    tried = 0

    for operation in all_operations:
        if operation.method != "GET":
            continue
        answer = table.send(operation, "no query")
        plain = {str(row) for row in answer.json or ()} if operation.query else set()
        asked: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, schema in operation.query.items():
            long_list = (name, str(schema)) not in read
            read.add((name, str(schema)))
            texts = payloads.texts(schema) if (operation, name) in first else {}
            for kind, value in _queries(texts, long_list=long_list):
                asked[kind, value].append(name)
        for (kind, value), names in asked.items():
            _ask_together(table, operation, plain, names, kind, value)
            tried += len(names)

    table.verdict(at_least=1_000)
    assert tried >= 2_000


def _ask_together(
    table: Table, operation: Operation, plain: set[str], names: list[str], kind: str, value: str
) -> None:
    """A refusal names every parameter at fault; one that it does not name is tried alone."""
    path = table.url(operation)
    if len(names) > 1:
        url = f"{path}?{'&'.join(f'{name}={value}' for name in names)}"
        answer = table.send(operation, f"{len(names)} parameters · {kind}", url=url)
        if answer.status_code == 400:
            unnamed = [name for name in names if not error_names_field(answer, f"/{name}")]
            names = names[:1] if _unread(answer) else unnamed
    for name in names:
        answer = table.send(operation, f"?{name} · {kind}", url=f"{path}?{name}={value}")
        _judge_rows(table, operation, name, plain, answer)


def test_no_unknown_filter_is_taken_whatever_it_says(
    table: Table, all_operations: list[Operation]
) -> None:
    """As many at once as can be read; where no query is asked for, none is looked at."""
    said = dict(_queries({}, long_list=False))
    readable = [value for kind, value in said.items() if kind in payloads.QUERY and kind != "NUL"]
    alone = [value for value in said.values() if value not in readable]
    assert len(readable) >= 10
    assert len(alone) >= 4

    for operation in all_operations:
        if operation.method != "GET":
            continue
        for values_at_once in (readable, *([value] for value in alone)):
            query = "&".join(f"filter_{at}={value}" for at, value in enumerate(values_at_once))
            url = f"{table.url(operation)}?{query}"
            answer = table.send(operation, f"?{query[:60]}", url=url)

            taken = [at for at in range(len(values_at_once)) if f"/filter_{at}" not in answer.text]
            if operation.query and (answer.status_code != 400 or taken) and not _unread(answer):
                table.blame(f"{operation.name} takes {taken} of ?{query[:200]}")

    table.verdict(at_least=200)


def _judge_rows(
    table: Table, operation: Operation, name: str, plain: set[str], answer: ApiResponse
) -> None:
    """A query is refused with its name, or shows those rows of the plain list that match."""
    where = f"{operation.name} · {answer.request.query_string.decode()[:200]}"
    if answer.status_code == 400:
        at_fault = error_names_field(answer, f"/{name}") or error_names_field(answer, "/limit[]")
        if not at_fault and "percent-encoded" not in answer.text:
            table.blame(f"{where}: the parameter is not named in {answer.text[:300]}")
        return
    if answer.status_code != 200:
        table.blame(f"{where}: {answer.status_code}")
    elif operation.path.startswith("/api/tenants/") and any(
        str(row) not in plain for row in answer.json
    ):
        table.blame(f"{where}: shows rows that the plain list does not")
    wanted = answer.request.args.get(name, "")
    for row in answer.json:
        if name in row and _as_query(row[name]) != wanted:
            table.blame(f"{where}: shows a row whose {name} is {row[name]}")


def _unread(answer: ApiResponse) -> bool:
    """Whether a query was refused before any of its parameters was shown its value."""
    return answer.status_code == 400 and answer.json["detail"].startswith("The query is not ")


def _as_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_a_parameter_said_twice_is_refused(table: Table, all_operations: list[Operation]) -> None:
    for operation in all_operations:
        for name in operation.query:
            url = f"{table.url(operation)}?{name}=1&{name}=1"
            answer = table.send(operation, f"?{name} twice", url=url)

            if answer.status_code != 400 or not error_names_field(answer, f"/{name}"):
                table.blame(f"{operation.name}?{name} twice: {answer.text[:200]}")

    table.verdict(at_least=30)


def test_no_id_in_a_path_breaks_anything(table: Table, all_operations: list[Operation]) -> None:
    for operation in all_operations:
        for name in operation.path_names:
            for kind, value in payloads.IDS.items():
                url = table.url(operation, **{name: value})
                good = (
                    json.dumps(build_body(operation, body_values(table.here)))
                    if operation.fields
                    else None
                )
                answer = table.send(operation, f"{{{name}}} · {kind}", url=url, data=good)

                if answer.status_code != 404:
                    table.blame(f"{operation.name} {{{name}}} · {kind}: {answer.status_code}")

    table.verdict(at_least=1_000)


def test_no_header_breaks_anything(table: Table, all_operations: list[Operation]) -> None:
    nobody = dict.fromkeys(table.here.ids, payloads.IDS["unknown"])
    lots = _lots(payloads.HEADERS)
    assert sum(kind.count(" + ") + 1 for kind in lots) == len(payloads.HEADERS)
    with public_session() as session:
        # Who claims a key orders that keys are swept, once a day, refused or not.
        idempotency.schedule_cleanup(session, now=clock.now())
    table.mark()
    for operation in all_operations:
        reading = operation.method == "GET"
        url = table.url(operation, **({} if reading else nobody))
        data = None if reading else b"{}"
        plain = table.send(operation, "no odd header", url=url, data=data)
        for kind, environ in lots.items():
            answer = table.send(operation, kind, url=url, data=data, environ=environ)

            if reading and answer.status_code != plain.status_code:
                table.blame(f"{operation.name} · {kind}: {answer.status_code}")
            if "evil" in f"{answer.headers} {answer.text}".lower():
                table.blame(f"{operation.name} · {kind}: echoed")

    table.verdict(at_least=1_000)


def _lots(headers: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Headers that may be refused each for itself; of the others, which change nothing, many."""
    alone = {kind: headers[kind] for kind in headers if kind.startswith(_REFUSED)}
    lots: list[dict[str, dict[str, str]]] = []
    for kind in headers:
        fitting = (lot for lot in lots if not headers[kind].keys() & set(chain(*lot.values())))
        if kind not in alone:
            lot = next(fitting, None)
            if lot is None:
                lots.append(lot := {})
            lot[kind] = headers[kind]
    together = {" + ".join(lot): dict(ChainMap(*lot.values())) for lot in lots}
    return {**together, **alone}


def test_every_odd_authorization_is_the_same_401(
    table: Table, all_operations: list[Operation]
) -> None:
    told = set()
    for operation in all_operations:
        if not operation.needs_key:
            continue
        for kind, value in payloads.AUTHORIZATIONS.items():
            given = None if value is None else value.replace("{key}", str(table.key(operation)))
            environ = {} if given is None else {"HTTP_AUTHORIZATION": given}
            answer = table.send(
                operation, kind, data=b"{}", headers={"Authorization": ""}, environ=environ
            )

            if answer.status_code != 401:
                table.blame(f"{operation.name} · {kind}: {answer.status_code}")
            told.add(answer.text.replace(answer.headers["X-Request-Id"], ""))

    table.verdict(at_least=500)
    assert len(told) == 1


def test_a_method_that_a_resource_does_not_know_is_405(
    table: Table, all_operations: list[Operation]
) -> None:
    known: dict[str, set[str]] = {}
    for operation in all_operations:
        known.setdefault(operation.path, set()).add(operation.method)

    for operation in all_operations:
        for method in payloads.METHODS:
            if method.replace("HEAD", "GET") in known[operation.path]:
                continue
            answer = table.send(
                operation, method, method=method, environ={"REQUEST_METHOD": method}
            )

            allowed = set(answer.headers.get("Allow", "").split(", ")) - {"HEAD"}
            if answer.status_code != 405 or allowed != known[operation.path]:
                table.blame(f"{method} {operation.path}: {answer.status_code}, Allow: {allowed}")

    table.verdict(at_least=200)


def test_paths_that_nobody_serves_are_404_and_lead_nowhere_else(
    table: Table, all_operations: list[Operation]
) -> None:
    me = next(each for each in all_operations if each.path == "/api/me")
    paths = [
        "/api/me/",
        "/api//me",
        "/api/./me",
        "/api/../api/me",
        "/API/ME",
        "/api/me%00",
        "/api/me%0d%0aX-Evil:1",
        "/api/me;x=1",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/assets/../../../../etc/passwd",
        "/docs/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/docs/assets/%00",
        "/docs/assets//etc/passwd",
        "/static/app.py",
        "/.env",
        "/.git/config",
        "/console",
        "/metrics",
        "/" + "a" * 8_000,
        "/%ff%fe",
        "/\u0661",
    ]

    for path in paths:
        answer = table.send(me, path, url=path, described=False)

        if answer.status_code != 404 or "Location" in answer.headers:
            table.blame(f"{path}: {answer.status_code} {answer.headers.get('Location')}")
    table.verdict(at_least=20)


def test_carriers_that_do_not_exist_are_not_remembered(table: Table, app: Flask) -> None:
    client = app.test_client()
    client.post("/telephony/nobody/voice")
    known = len(providers.current_carriers()._adapters)

    for number in range(50):
        answer = client.post(f"/telephony/nobody{number}/voice")
        assert (answer.status_code, answer.json["code"]) == (404, "not-found")

    assert len(providers.current_carriers()._adapters) == known


def test_nothing_that_a_carrier_signs_breaks_anything(
    table: Table, carrier_client: SignedCarrierClient, populated_globex: PopulatedTenant
) -> None:
    said = {
        "call_id": "a-call",
        "to": table.here.did_number,
        "from": "+14155550123",
        "state": table.here.live_call_state,
        "text": "Hello?",
        "status": "answered",
        "at": "2026-11-22T18:00:00Z",
        "code": "17",
    }
    read = {"voice": ("to", "from"), "speech": ("text",), "status": ("status", "at", "code")}
    texts = {**payloads.TEXTS, **payloads.TIMES, **payloads.NUMBERS}
    long_list = {
        **payloads.JSON_ONCE,
        **{kind: json.dumps(text).decode() for kind, text in texts.items()},
    }
    before = table.evidence.checksum(populated_globex.tenant.id)
    count = 0

    for action, name in product(read, said):
        kinds = {**payloads.JSON, **payloads.UNREADABLE}
        kinds |= long_list if name in read[action] else {}
        for kind, raw in kinds.items():
            answer = carrier_client.send_bytes(
                action, replace_values(said, raw, BodyField(f"/{name}", {}))
            )
            count += 1

            faults = list(_faults(answer))
            if faults or answer.status_code not in (200, 400, 413):
                table.blame(f"{action} {name} · {kind}: {answer.status_code} {faults}")
    for kind, (data, _, _) in payloads.BODIES.items():
        answer = carrier_client.send_bytes("voice", data)

        if answer.status_code not in (400, 413) or list(_faults(answer)):
            table.blame(f"{kind}: {answer.status_code} {answer.text[:200]}")

    table.mark()
    table.verdict(at_least=0)
    assert count >= 1_500
    assert table.evidence.checksum(populated_globex.tenant.id) == before


def _batches(names: list[str], size: int) -> Iterator[list[str]]:
    return (names[at : at + size] for at in range(0, len(names), size))


def _first(
    places: Iterable[tuple[Operation, str, Mapping[str, Any]]],
) -> set[tuple[Operation, str]]:
    """The first place of each shape: it takes the long list of payloads, the others a short one."""
    found: dict[str, tuple[Operation, str]] = {}
    for operation, place, schema in places:
        shape = {
            word: said
            for word, said in schema.items()
            if word not in ("description", "example", "default", "maxLength", "minimum", "maximum")
        }
        found.setdefault(str(sorted(shape.items())), (operation, place))
    return set(found.values())


def _queries(texts: Mapping[str, str], *, long_list: bool) -> Iterator[tuple[str, str]]:
    few, few_raw = payloads.WORST_QUERY, payloads.WORST_RAW_QUERY
    for kind, value in payloads.QUERY.items():
        if long_list or kind in few:
            yield kind, quote(value, safe="")
    for kind, value in texts.items():
        yield kind, quote(value, safe="")
    for kind, value in payloads.RAW_QUERY.items():
        if long_list or kind in few_raw:
            yield kind, value


def _faults(answer: ApiResponse) -> Iterator[str]:
    """What is wrong with an answer, whatever was asked."""
    if answer.status_code >= 500:
        yield f"{answer.status_code} {answer.text[:200]}"
    request_id = answer.headers.get("X-Request-Id", "")
    if not _REQUEST_ID.fullmatch(request_id):
        yield f"the request id {request_id!r}"
    if answer.status_code < 400 or not answer.data:
        return
    told = (answer.status_code, answer.mimetype, without_request_id(answer))
    if told not in _FAULTLESS:
        found = list(_problem_faults(answer, request_id))
        yield from found
        if not found:
            _FAULTLESS.add(told)


def _problem_faults(answer: ApiResponse, request_id: str) -> Iterator[str]:
    if answer.mimetype != "application/problem+json":
        yield f"no problem document but {answer.mimetype}"
        return
    told = answer.json
    missing = {"type", "title", "status", "code", "request_id"} - told.keys()
    if missing or told["status"] != answer.status_code or told["request_id"] != request_id:
        yield f"a problem without {missing}, or with another status or id: {told}"
    if not _CODE.fullmatch(told["code"]):
        yield f"the code {told['code']!r}"
    if found := _INSIDES.search(answer.text):
        yield f"tells of our insides: {found[0]!r} in {answer.text[:300]}"


def _read(data: bytes) -> tuple[bool, Any]:
    """Whether the text is JSON at all, by the standard library's lights; and its value."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    try:
        value = standard.loads(data.decode(), object_pairs_hook=once)
        return _depth(value) <= 32, value
    except (ValueError, RecursionError):
        return False, None


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, inner), default=0)


def _keepable(value: Any) -> bool:
    """Whether Postgres has a place for it: no NUL, no lone surrogate, 64 bits, finite."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_keepable, parts))
    if isinstance(value, str):
        return re.search("[\x00\ud800-\udfff]", value) is None
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63
