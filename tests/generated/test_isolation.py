"""The isolation matrix: every operation times every place where a foreign id can travel.

Acme asks; what it sends is Globex's. The answer must be the one that a made-up id gets (missing and
foreign are the same), hold nothing of Globex's, and leave Globex's rows as they were. The cells are
computed from the OpenAPI document, so a new operation, parameter or field is in them by itself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.support.api import Api, ApiResponse, ResponseValidator
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, fresh_number
from tests.support.operations import (
    BodyField,
    Operation,
    build_body,
    distinct_operation_fields,
    error_names_field,
    non_overlapping,
    replace_values,
)
from tests.support.populated_tenant import (
    PopulatedTenant,
    SignedCarrierClient,
    body_values,
    list_cursors,
)
from vca.kit import crypto, json

# Operations without a key of ours, and why no tenant's id can travel in them.
OPEN = {
    "GET /": "names the service and its links; asks the database nothing",
    "GET /livez": "asks nobody anything",
    "GET /healthz": "reads the revision of the public schema",
    "GET /metrics": "counts and figures of the whole deployment; not there without its own token",
    "GET /docs": "a page, the same for everybody",
    "GET /api/openapi.json": "a document, the same for everybody",
    "POST /telephony/{provider}/{action}": "signed by the carrier; tested below with state tokens",
}
T = "/api/tenants/{tenant_id}"
# Headers by which other systems let a client name a tenant, a path or a method.
HEADERS = (
    "X-Tenant-Id",
    "X-Tenant",
    "X-Tenant-Schema",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Forwarded-User",
    "Host",
    "Cookie",
    "Idempotency-Key",
    "If-None-Match",
)
UNDECLARED = ("tenant_id", "tenant", "schema", "search_path", "id")
LEAST_CELLS = 1_500


@dataclass(frozen=True, eq=False)
class Sent:
    """A request, made once when its answer is first asked for."""

    api: Api
    method: str
    url: str
    data: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] | None = None

    @cached_property
    def answer(self) -> ApiResponse:
        headers = dict(self.headers)
        if self.data is not None:
            headers["Content-Type"] = "application/json"
        return self.api.send(
            self.method, self.url, data=self.data, headers=headers, query=self.query
        )

    @property
    def text(self) -> str:
        """All that the asker said."""
        return f"{self.url} {self.data!r} {self.headers} {self.query}"


@dataclass(frozen=True)
class Cell:
    """Places of one operation: the same request with Globex's value in them and a made-up one.

    `again` makes the cells for those of many `fields` of which the answer tells nothing.
    """

    kind: str
    operation: Operation
    places: tuple[str, ...]
    foreign: Sent
    missing: Sent
    status: int | None = None  # None: whatever a made-up value gets
    fields: tuple[BodyField, ...] = ()
    again: Callable[[list[BodyField]], Iterator["Cell"]] = lambda fields: iter(())

    def faults(self, there: PopulatedTenant) -> Iterator[str]:
        """Why this cell is no isolation."""
        yield from self._faults(there)
        for cell in self.again(self._untold()):
            yield from cell.faults(there)

    def _untold(self) -> list[BodyField]:
        """Whatever was sent is taken, or is refused by name; but no id of Globex's is taken."""
        answer = self.foreign.answer
        if answer.status_code == self.status:
            return []
        if answer.status_code < 300:
            return [each for each in self.fields if each.schema.get("format") == "uuid"]
        return [each for each in self.fields if not error_names_field(answer, each.pointer)]

    def _faults(self, there: PopulatedTenant) -> Iterator[str]:
        foreign, missing = self.foreign.answer, self.missing.answer
        where = f"{self.operation.name} · {', '.join(self.places)} · {self.foreign.text}"
        if foreign.status_code != (self.status or missing.status_code):
            yield f"{where}: answers {foreign.status_code}"
        if foreign.status_code != missing.status_code:
            yield f"{where}: {foreign.status_code}, but {missing.status_code} for a made-up one"
        elif foreign.status_code >= 400 and _told(foreign) != _told(missing):
            yield f"{where}: {_told(foreign)}, but {_told(missing)} for a made-up one"
        seen = f"{foreign.text} {foreign.headers}"
        if leaked := there.leaked_secrets(seen, request_text=self.foreign.text):
            yield f"{where}: shows {leaked}"


def _told(answer: ApiResponse) -> Any:
    """A problem document but for its request's id."""
    return {name: value for name, value in answer.json.items() if name != "request_id"}


@dataclass(frozen=True)
class Matrix:
    """All cells, made for two furnished tenants."""

    here: PopulatedTenant
    there: PopulatedTenant
    looked_into: set[tuple[Operation, str]]

    def cells(self, operations: list[Operation], kinds: Sequence[str]) -> Iterator[Cell]:
        for operation, kind in product(operations, kinds):
            if operation.name in OPEN:
                continue
            if operation.path.startswith(T):
                makers = {
                    "path": self._path_cells,
                    "key": self._key_cells,
                    "query": self._query_cells,
                    "cursor": self._cursor_cells,
                    "body": self._body_cells,
                    "header": self._header_cells,
                }
            elif operation.path.endswith("/me"):
                makers = {"header": self._header_cells}
            else:
                makers = {"platform": self._platform_cells, "header": self._header_cells}
            if kind in makers:
                yield from makers[kind](operation)

    def _sent(self, operation: Operation, ids: dict[str, str] | None = None, **more: Any) -> Sent:
        """Acme's own valid request, but for what is given."""
        more.setdefault("api", self.here.tenant.api)
        if operation.body_schema is not None and "data" not in more:
            own = build_body(operation, body_values(self.here), as_platform=False)
            more["data"] = json.dumps(own)
        url = operation.url({**self.here.path_ids(operation.path), **(ids or {})})
        return Sent(method=operation.method, url=url, **more)

    def _path_cells(self, operation: Operation) -> Iterator[Cell]:
        """Globex's ids in the path, one by one and all together."""
        theirs = self.there.ids
        for name in operation.path_names:
            missing = self._sent(operation, {name: str(uuid4())})
            wrong = [theirs[name], theirs[name].upper()]
            if name != "tenant_id":
                wrong += [each for each in theirs.values() if each != theirs[name]]
            for value in wrong:
                yield Cell(
                    "path",
                    operation,
                    (f"path:{name}",),
                    self._sent(operation, {name: value}),
                    missing,
                    404,
                )
        yield Cell(
            "path",
            operation,
            "path:*",
            self._sent(operation, dict(theirs)),
            self._sent(operation, {**theirs, "tenant_id": str(uuid4())}),
            404,
        )

    def _key_cells(self, operation: Operation) -> Iterator[Cell]:
        """Globex's key on Acme's paths, with Acme's objects and with its own."""
        theirs = {**self.there.ids, "tenant_id": self.here.tenant.id}
        made_up = {**self.here.ids, "tenant_id": str(uuid4())}
        for ids in (dict(self.here.ids), theirs):
            yield Cell(
                "key",
                operation,
                ("key",),
                self._sent(operation, ids, api=self.there.tenant.api),
                self._sent(operation, made_up, api=self.there.tenant.api),
                404,
            )

    def _query_cells(self, operation: Operation, kind: str = "query") -> Iterator[Cell]:
        """Each parameter of its own, and all that others might look at at once."""
        if operation.method != "GET":
            return
        undeclared = tuple(name for name in UNDECLARED if name not in operation.query)
        for names, few in [*(((name,), False) for name in operation.query), (undeclared, True)]:
            places = tuple(f"query:{name}" for name in names)
            for theirs, made_up in self._values(few=few):
                missing = self._sent(operation, query=dict.fromkeys(names, made_up))
                for value in theirs:
                    foreign = self._sent(operation, query=dict.fromkeys(names, value))
                    yield Cell(kind, operation, places, foreign, missing)

    def _cursor_cells(self, operation: Operation) -> Iterator[Cell]:
        """Cursors of Globex's lists, of Acme's other lists, of another filter, and broken ones."""
        if "cursor" not in operation.query:
            return
        own_path = operation.path.removeprefix(T)
        own = dict(list_cursors(self.here.tenant))
        wrong = [cursor for _, cursor in list_cursors(self.there.tenant)]
        wrong += [cursor for path, cursor in own.items() if path != own_path]
        forged = "bm90LW91cnM.bm90LW91cnM"
        queries = [{"cursor": cursor} for cursor in wrong]
        if own_path in own:
            cursor = own[own_path]
            queries += [{"cursor": cursor[:-1]}, {"cursor": f"{cursor}A"}, {"cursor": cursor[1:]}]
            queries += [
                {"cursor": cursor, name: schema["enum"][0]}
                for name, schema in operation.query.items()
                if "enum" in schema
            ]
        for query in queries:
            foreign = self._sent(operation, query=query)
            missing = self._sent(operation, query={**query, "cursor": forged})
            yield Cell("cursor", operation, ("query:cursor",), foreign, missing, 400)

    def _body_cells(self, operation: Operation, kind: str = "body") -> Iterator[Cell]:
        """Globex's ids, numbers and words in every field, in as many at once as there is room for.

        One of each where a text is refused whatever it says, and where the same schema was looked
        into already: on another day of the week, in another operation.
        """
        asked: dict[tuple[str, str], list[BodyField]] = defaultdict(list)
        all_values = list(self._values(few=False))
        for place in operation.fields:
            few = place.schema.get("type", "string") != "string"
            few = few or (operation, place.pointer) not in self.looked_into
            for theirs, made_up in all_values:
                if place.pointer == "/did_number" and made_up.startswith("+"):
                    made_up = self.here.did_number  # taken is taken, whoever has it
                for value in theirs[: 1 if few else None]:
                    asked[value, made_up].append(place)
        for (value, made_up), places in asked.items():
            for lot in non_overlapping(places):
                yield self._body_cell(kind, operation, lot, value, made_up)

    def _body_cell(
        self, kind: str, operation: Operation, lot: list[BodyField], value: str, made_up: str
    ) -> Cell:
        def again(rest: list[BodyField]) -> Iterator[Cell]:
            lots = [rest] if 0 < len(rest) < len(lot) else [[one] for one in rest]
            return (self._body_cell(kind, operation, each, value, made_up) for each in lots)

        foreign, missing = (self._sent_with(operation, lot, each) for each in (value, made_up))
        places = tuple(f"body:{place.pointer}" for place in lot)
        if len(lot) > 1:
            return Cell(kind, operation, places, foreign, missing, fields=tuple(lot), again=again)
        status = 400 if lot[0].schema.get("format") == "uuid" else None
        return Cell(kind, operation, places, foreign, missing, status)

    def _platform_cells(self, operation: Operation) -> Iterator[Cell]:
        """What only operators may do, asked for with a tenant's key."""
        asked = [(f"path:{name}", {name: self.there.ids[name]}) for name in operation.path_names]
        for place, ids in [("key", {}), *asked]:
            foreign = self._sent(operation, ids)
            missing = self._sent(operation, dict.fromkeys(ids, str(uuid4())))
            yield Cell("platform", operation, (place,), foreign, missing, 403)
        for cell in self._body_cells(operation, "platform"):
            yield replace(cell, status=403)
        for cell in self._query_cells(operation, "platform"):
            yield replace(cell, status=403)

    def _header_cells(self, operation: Operation) -> Iterator[Cell]:
        for name in operation.headers:
            foreign, missing = (
                self._sent(operation, headers={name: f"{word} {operation.path}"})
                for word in (self.there.marker, f"globex{uuid4().hex[:12]}")
            )
            yield Cell("header", operation, (f"header:{name}",), foreign, missing)
        if operation.method != "GET":
            return
        missing = self._sent(operation)
        places = tuple(f"header:{name}" for name in HEADERS)
        for value in (self.there.tenant.id, self.there.tenant.url()):
            foreign = self._sent(operation, headers=dict.fromkeys(HEADERS, value))
            yield Cell("header", operation, places, foreign, missing)

    def _sent_with(self, operation: Operation, lot: list[BodyField], value: str) -> Sent:
        as_platform = any(place.steps[0] in operation.platform_only for place in lot)
        whole = build_body(operation, body_values(self.here), as_platform=as_platform)
        return self._sent(operation, data=replace_values(whole, json.dumps(value).decode(), *lot))

    def _values(self, *, few: bool) -> Iterator[tuple[list[str], str]]:
        """(Globex's values of one kind, a made-up one of the same kind); `few`: one of each."""
        most = 1 if few else None
        yield list(self.there.ids.values())[:most], str(uuid4())
        numbers = [self.there.did_number, self.there.quarantined_did, self.there.assigned_did]
        yield numbers[:most], fresh_number()
        yield [self.there.marker], f"globex{uuid4().hex[:12]}"


KINDS = ("path", "key", "query", "cursor", "body", "platform", "header")


@pytest.fixture
def matrix(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    all_operations: list[Operation],
) -> Matrix:
    """All cells for Acme and Globex."""
    return Matrix(populated_acme, populated_globex, distinct_operation_fields(all_operations))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_another_tenants_is_answered_like_what_does_not_exist(
    kind: str, matrix: Matrix, all_operations: list[Operation], db_snapshot: SnapshotChecker
) -> None:
    here, there = matrix.here, matrix.there
    cells = {each: list(matrix.cells([each], [kind])) for each in all_operations}
    before, own = db_snapshot.checksum(there.tenant.id), db_snapshot.checksum(here.tenant.id)
    faults: list[str] = []

    for operation in all_operations:
        for cell in cells[operation]:
            assert (cell.kind, cell.operation) == (kind, operation)
            faults += cell.faults(there)
        if db_snapshot.checksum(there.tenant.id) != before:
            faults.append(f"{operation.name} changed what is Globex's")
            before = db_snapshot.checksum(there.tenant.id)

    assert sum(map(len, cells.values())) > 10
    assert not faults, "\n".join(faults)
    if kind in ("path", "key", "cursor", "platform"):  # where nothing at all may happen
        assert db_snapshot.checksum(here.tenant.id) == own


def test_every_operation_and_every_place_of_the_document_is_in_the_matrix(
    matrix: Matrix, all_operations: list[Operation], openapi: ResponseValidator
) -> None:
    wanted = set(_places(openapi.document))

    cells = list(matrix.cells(all_operations, KINDS))

    planned = {(cell.operation.name, place) for cell in cells for place in cell.places}
    assert not sorted(wanted - planned)
    assert {cell.kind for cell in cells} == set(KINDS)
    assert sum(len(cell.places) for cell in cells) >= LEAST_CELLS
    assert {name for name, _ in wanted} | set(OPEN) == {each.name for each in all_operations}
    assert {each.name for each in all_operations if not each.needs_key} == set(OPEN)


def test_what_is_served_is_what_the_document_describes(
    app: Flask, all_operations: list[Operation]
) -> None:
    served = {
        (method, "".join(f"{{{part}}}" if dynamic else part for dynamic, part in rule._trace))
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.endswith(".static")
        for method in (rule.methods or set()) - {"HEAD"}
    }

    assert {(method, path.lstrip("|")) for method, path in served} == {
        (each.method, each.path) for each in all_operations
    }


# Columns that hold no word of the tenant's own: closed vocabularies, numbers, times, references.
TECHNICAL = {
    ("ai_profiles", "language"),
    ("ai_profiles", "redaction"),
    ("ai_profiles", "role"),
    ("ai_profiles", "tools"),
    ("call_events", "event_type"),
    ("idempotency_keys", "headers"),
    ("messages", "kind"),
    ("messages", "status"),
    ("outbound_legs", "kind"),
    ("privacy_requests", "kind"),
    ("privacy_requests", "number_hash"),
    ("privacy_requests", "status"),
    ("recordings", "carrier_copy"),
    ("recordings", "kind"),
    ("recordings", "content_type"),
    ("recordings", "provider_type"),
    ("recordings", "sha256"),
    ("recordings", "status"),
    ("recordings", "storage_key"),
    ("settings", "dial_policy"),
    ("settings", "limits"),
    ("settings", "retention_days"),
    ("turns", "actions"),
    ("turns", "tokens"),
    ("ai_profiles", "model"),
    ("calls", "called_number"),
    ("calls", "caller_id"),
    ("calls", "caller_number"),
    ("calls", "direction"),
    ("calls", "end_reason"),
    ("calls", "latency"),
    ("calls", "call_metadata"),
    ("calls", "provider_type"),
    ("calls", "route"),
    ("calls", "status"),
    ("phone_numbers", "did_number"),
    ("phone_numbers", "fallback_number"),
    ("phone_numbers", "mode"),
    ("phone_numbers", "provider_type"),
    ("phone_numbers", "registration_status"),
    ("telephony_accounts", "provider_type"),
    ("settings", "home_country"),
    ("settings", "time_zone"),
    ("turns", "latency_ms"),
    ("turns", "speaker"),
    ("usage_facts", "key"),
    ("usage_facts", "kind"),
    ("usage_facts", "leg"),
    ("usage_facts", "plan"),
    ("events", "type"),
    ("audit_entries", "actor"),
    ("audit_entries", "changes"),
    ("audit_entries", "key_prefix"),
    ("audit_entries", "object_type"),
    ("audit_entries", "operation"),
    ("audit_entries", "request_id"),
    ("webhooks", "events"),
    ("webhook_deliveries", "status"),
    ("webhook_deliveries", "type"),
}


def test_every_text_that_globex_keeps_bears_its_word(
    populated_globex: PopulatedTenant, db_snapshot: SnapshotChecker
) -> None:
    texts = db_snapshot.texts(populated_globex.tenant.id)

    without = {
        place
        for place, found in texts.items()
        if found and populated_globex.marker not in str(found)
    }

    assert without <= TECHNICAL
    empty = {
        table
        for table in db_snapshot.tables(populated_globex.tenant.id)
        if not db_snapshot.rows(
            f'SELECT 1 FROM "{populated_globex.tenant.ref.schema}"."{table}" LIMIT 1'
        )
    }
    assert not empty


def test_the_checksum_sees_every_change_of_globex(
    populated_globex: PopulatedTenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    changes: list[Callable[[], ApiResponse]] = [
        lambda: populated_globex.tenant.patch("/settings", {"time_zone": "Europe/Paris"}),
        lambda: populated_globex.tenant.patch(
            f"/phone-numbers/{populated_globex.ids['phone_number_id']}", {"label": "x"}
        ),
        lambda: populated_globex.tenant.post(f"/calls/{populated_globex.ids['call_id']}/hangup"),
        lambda: populated_globex.tenant.delete(f"/api-keys/{populated_globex.ids['key_id']}"),
        lambda: platform.api.patch(populated_globex.tenant.url(), {"plan": "growth"}),
    ]
    seen = [db_snapshot.checksum(populated_globex.tenant.id)]

    for change in changes:
        assert change().status_code < 300
        seen.append(db_snapshot.checksum(populated_globex.tenant.id))

    assert all(before != after for before, after in pairwise(seen))


def test_a_platform_key_reaches_every_tenant_and_still_only_the_one_of_the_path(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant, platform: Platform
) -> None:
    for path in ("/phone-numbers", "/ai-profiles", "/calls", "/api-keys"):
        shown = platform.api.get(populated_acme.tenant.url(path))

        assert shown.json
        assert not populated_globex.leaked_secrets(shown.text)
    foreign = platform.api.get(
        populated_acme.tenant.url(f"/calls/{populated_globex.ids['call_id']}")
    )
    assert foreign.status_code == 404


# --- The carriers' one operation: whose a call is, is in a token that only we can seal. ---


def test_a_state_token_leads_to_its_own_call_whatever_number_comes_with_it(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = db_snapshot.checksum(populated_acme.tenant.id)

    said = carrier_client.send(
        "speech",
        call_id=populated_acme.provider_call_id,
        to=populated_acme.did_number,
        state=populated_globex.live_call_state,
        text="Who am I talking to?",
    )

    assert said.status_code == 200
    assert not populated_acme.leaked_secrets(
        said.text, request_text=populated_acme.provider_call_id
    )
    assert db_snapshot.checksum(populated_acme.tenant.id) == before


def test_a_state_token_that_we_did_not_seal_is_refused_and_changes_nothing(
    app: Flask,
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    token, own = populated_globex.live_call_state, populated_acme.live_call_state
    call = [
        populated_globex.tenant.id.replace("-", ""),
        populated_globex.ids["call_id"].replace("-", ""),
    ]
    tokens = {
        "flipped": token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:],
        "cut": token[:-2],
        "mixed": f"{token.rpartition('.')[0]}.{own.rpartition('.')[2]}",
        "of a cursor": crypto.sign(app.config["SECRET_KEY"], call, purpose="cursor|/"),
        "of another secret": crypto.sign("somebody else's secret", call, purpose="call"),
        "unsigned": json.dumps(call).decode(),
    }
    before = (
        db_snapshot.checksum(populated_globex.tenant.id),
        db_snapshot.checksum(populated_acme.tenant.id),
    )

    for action, spoilt in product(("speech", "status"), tokens):
        said = carrier_client.send(
            action,
            call_id=populated_globex.provider_call_id,
            to=populated_globex.did_number,
            state=tokens[spoilt],
            text="Hello?",
            status="completed",
        )

        assert (said.status_code, said.json["code"]) == (400, "unreadable-carrier-request"), spoilt
        assert not populated_globex.leaked_secrets(said.text)
    assert (
        db_snapshot.checksum(populated_globex.tenant.id),
        db_snapshot.checksum(populated_acme.tenant.id),
    ) == before


def test_a_carriers_call_id_is_looked_up_only_at_the_tenant_that_was_called(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = (
        db_snapshot.checksum(populated_globex.tenant.id),
        db_snapshot.checksum(populated_acme.tenant.id),
    )

    said = carrier_client.send(
        "status",
        call_id=populated_globex.provider_call_id,
        to=populated_acme.did_number,
        status="completed",
    )

    assert said.status_code == 200
    assert (
        db_snapshot.checksum(populated_globex.tenant.id),
        db_snapshot.checksum(populated_acme.tenant.id),
    ) == before


def test_a_ring_with_globexs_call_id_on_acmes_number_is_a_call_of_acmes(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = db_snapshot.checksum(populated_globex.tenant.id)

    rung = carrier_client.send(
        "voice", call_id=populated_globex.provider_call_id, to=populated_acme.did_number
    )

    assert not populated_globex.leaked_secrets(
        rung.text, request_text=populated_globex.provider_call_id
    )
    assert populated_acme.marker in rung.text
    assert db_snapshot.checksum(populated_globex.tenant.id) == before
    newest = populated_acme.tenant.get("/calls", limit=1).json[0]
    assert newest["provider_call_id"] == populated_globex.provider_call_id


def test_an_unsigned_carrier_request_is_refused_before_anything_is_written(
    world: Factory, populated_globex: PopulatedTenant, db_snapshot: SnapshotChecker
) -> None:
    before = db_snapshot.write_markers(populated_globex.tenant.id)
    asked = {
        "call_id": "x",
        "to": populated_globex.did_number,
        "state": populated_globex.live_call_state,
    }

    for action in ("voice", "speech", "status"):
        for headers in ({}, {"X-Fake-Signature": "0" * 64}, {"X-Fake-Signature": "é"}):
            said = world.api(None).post(
                f"/telephony/fake/{action}", {**asked, "status": "completed"}, headers=headers
            )

            assert said.status_code == 403
            assert not populated_globex.leaked_secrets(said.text)
    assert db_snapshot.write_markers(populated_globex.tenant.id) == before


def _places(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(operation, place) of a document, walked by nothing that the matrix is built with."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = f"{method.upper()} {path}"
            if method == "parameters" or name in OPEN:
                continue
            yield name, "header:X-Tenant-Id" if method == "get" else "key"
            for step in path.split("/"):
                if step.startswith("{"):
                    yield name, f"path:{step[1:-1]}"
            for parameter in operation.get("parameters", ()):
                yield name, f"{parameter['in']}:{parameter['name']}"
            sent = operation.get("requestBody", {}).get("content", {})
            for content in sent.values():
                for pointer in _pointers(document, content["schema"], ""):
                    yield name, f"body:{pointer}"


def _pointers(document: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    parts = [schema, *schema.get("allOf", ()), *schema.get("oneOf", ())]
    for reference in (part.get("$ref") for part in parts):
        if reference:
            found = document["components"]["schemas"][reference.rpartition("/")[2]]
            yield from _pointers(document, found, at)
    for name, part in schema.get("properties", {}).items():
        if not part.get("readOnly"):
            yield f"{at}/{name}"
            yield from _pointers(document, part, f"{at}/{name}")
    if "items" in schema:
        yield f"{at}/0"
        yield from _pointers(document, schema["items"], f"{at}/0")
