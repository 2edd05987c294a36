"""A client that sends values of Globex as Acme, and compares the responses with made-up values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.generated.isolation_cells import (
    FOREIGN_NUMBERS,
    BodyValueCell,
    CursorCell,
    ForeignHeaderCell,
    KeyCell,
    PathIdCell,
    PlatformCell,
    QueryValueCell,
)
from tests.generated.populated_database import PopulatedDatabase
from tests.support.api import Api, ApiResponse
from tests.support.factories import fresh_number
from tests.support.operations import BodyField, Operation, build_body, replace_values
from tests.support.populated_tenant import PopulatedTenant, body_values, list_cursor
from vca.kit import json

_FORGED_CURSOR = "bm90LW91cnM.bm90LW91cnM"


@dataclass(frozen=True)
class Request:
    """A request with the API client that sends it."""

    api: Api
    method: str
    url: str
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] | None = None

    @property
    def text(self) -> str:
        """Return everything that the client sends, except its key."""
        return f"{self.url} {self.data!r} {self.headers} {self.query}"

    def send(self) -> ApiResponse:
        headers = dict(self.headers)
        if self.data is not None:
            headers["Content-Type"] = "application/json"
        return self.api.send(
            self.method, self.url, data=self.data, headers=headers, query=dict(self.query or {})
        )


@dataclass(frozen=True)
class Outcome:
    """What the responses to a foreign and to a made-up value have in common."""

    status: int
    problem: Mapping[str, Any]

    @classmethod
    def from_response(cls, response: ApiResponse) -> "Outcome":
        if response.status_code < 400:
            return cls(response.status_code, {})
        members = response.json.items()
        problem = {name: value for name, value in members if name != "request_id"}
        return cls(response.status_code, problem)


class IsolationClient:
    """Sends requests as Acme.

    A response to a made-up value is remembered for the cells that it is compared with: it does not
    depend on other cells, because every request finds the same rows.
    """

    def __init__(self, database: PopulatedDatabase) -> None:
        self.database = database
        self._acme = database.acme
        self._globex = database.globex
        self._body_values = body_values(self._acme)
        self._valid_bodies: dict[tuple[Operation, bool], Mapping[str, Any]] = {}
        self._made_up_outcomes: dict[tuple[object, ...], Outcome] = {}
        self._cursors: dict[tuple[str, str], str] = {}

    def check(
        self,
        foreign: Request,
        build_made_up: Callable[[], Request],
        *,
        made_up_key: tuple[object, ...],
        status: int | None = None,
        may_write: bool = False,
    ) -> None:
        """Fail unless Globex's value is handled like one that does not exist.

        `made_up_key` identifies the made-up request among all cells. Without a `status`, the
        response may have any, as long as both requests get the same one.
        """
        outcome = self._made_up_outcome(made_up_key, build_made_up)
        self.database.expect_writes()
        response = foreign.send()
        changes = self.database.changes()
        assert response.status_code == (status or outcome.status), foreign.text
        assert Outcome.from_response(response) == outcome, foreign.text
        visible_text = f"{response.text} {response.headers}"
        assert self._globex.leaked_secrets(visible_text, request_text=foreign.text) == []
        assert self.database.globex_changes(changes) == []
        if not may_write or response.status_code >= 300:
            assert changes == []

    def check_path(self, cell: PathIdCell) -> None:
        foreign_ids = {name: self._globex.ids[resource] for name, resource in cell.ids}
        if cell.is_upper:
            foreign_ids = {name: value.upper() for name, value in foreign_ids.items()}
        made_up_ids = {**foreign_ids, cell.ids[0][0]: str(uuid4())}
        self.check(
            self._request(cell.operation, foreign_ids),
            lambda: self._request(cell.operation, made_up_ids),
            made_up_key=(cell.operation, cell.place),
            status=404,
        )

    def check_key(self, cell: KeyCell) -> None:
        ids = {**self._acme.ids, "tenant_id": self._acme.tenant.id}
        if cell.has_foreign_ids:
            ids = {**self._globex.ids, "tenant_id": self._acme.tenant.id}
        api = self._globex.tenant.api
        made_up_ids = {**self._acme.ids, "tenant_id": str(uuid4())}
        self.check(
            self._request(cell.operation, ids, api=api),
            lambda: self._request(cell.operation, made_up_ids, api=api),
            made_up_key=(cell.operation, cell.place),
            status=404,
        )

    def check_query(self, cell: QueryValueCell, *, status: int | None = None) -> None:
        value, made_up = self._value(cell.value_name), _made_up_value(cell.value_name)
        self.check(
            self._request(cell.operation, query={cell.name: value}),
            lambda: self._request(cell.operation, query={cell.name: made_up}),
            made_up_key=(cell.operation, cell.place, _value_type(cell.value_name)),
            status=status,
            may_write=cell.operation.is_audited,
        )

    def check_cursor(self, cell: CursorCell) -> None:
        tenant = self._acme if cell.owner == "acme" else self._globex
        cursor = self._cursor(tenant, cell.list_name)
        cursor = {
            "cut-at-the-end": cursor[:-1],
            "longer": f"{cursor}A",
            "cut-at-the-start": cursor[1:],
        }.get(cell.change, cursor)
        filters = dict([cell.filter_value] if cell.filter_value else [])
        self.check(
            self._request(cell.operation, query={"cursor": cursor, **filters}),
            lambda: self._request(cell.operation, query={"cursor": _FORGED_CURSOR, **filters}),
            made_up_key=(cell.operation, cell.place, cell.filter_value),
            status=400,
        )

    def check_body(self, cell: BodyValueCell, *, status: int | None = None) -> None:
        value, made_up = self._value(cell.value_name), _made_up_value(cell.value_name)
        if cell.place == "/did_number" and made_up.startswith("+"):
            made_up = self._acme.did_number  # a number that is taken, no matter by whom
        if status is None and cell.field.schema.get("format") == "uuid":
            status = 400
        self.check(
            self._request_with_field(cell.operation, cell.field, value),
            lambda: self._request_with_field(cell.operation, cell.field, made_up),
            made_up_key=(cell.operation, cell.place, _value_type(cell.value_name)),
            status=status,
            may_write=True,
        )

    def check_platform(self, cell: PlatformCell) -> None:
        names = [cell.path_name] if cell.path_name else []
        self.check(
            self._request(cell.operation, {name: self._globex.ids[name] for name in names}),
            lambda: self._request(cell.operation, {name: str(uuid4()) for name in names}),
            made_up_key=(cell.operation, cell.place),
            status=403,
        )

    def check_header(self, cell: ForeignHeaderCell) -> None:
        if cell.value_name == "marker":
            values = (self._globex.marker, f"globex{uuid4().hex[:12]}")
            foreign, made_up = (
                self._request(cell.operation, headers={cell.name: f"{value} {cell.operation.path}"})
                for value in values
            )
        else:
            value = {"tenant_id": self._globex.tenant.id, "url": self._globex.tenant.url()}
            foreign = self._request(cell.operation, headers={cell.name: value[cell.value_name]})
            made_up = self._request(cell.operation)
        self.check(
            foreign,
            lambda: made_up,
            made_up_key=(cell.operation, cell.value_name == "marker"),
            may_write=True,
        )

    def _made_up_outcome(
        self, key: tuple[object, ...], build_request: Callable[[], Request]
    ) -> Outcome:
        if key not in self._made_up_outcomes:
            self.database.expect_writes()
            self._made_up_outcomes[key] = Outcome.from_response(build_request().send())
            self.database.restore()
        return self._made_up_outcomes[key]

    def _request(
        self,
        operation: Operation,
        ids: Mapping[str, str] | None = None,
        *,
        api: Api | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Request:
        """Return a valid request of Acme, apart from the given parts."""
        if operation.body_schema is not None and data is None:
            data = json.dumps(self._valid_body(operation, as_platform=False))
        url = operation.url({**self._acme.path_ids(operation.path), **(ids or {})})
        return Request(
            api or self._acme.tenant.api, operation.method, url, data, headers or {}, query
        )

    def _request_with_field(
        self, operation: Operation, body_field: BodyField, value: str
    ) -> Request:
        as_platform = body_field.steps[0] in operation.platform_only
        body = self._valid_body(operation, as_platform=as_platform)
        raw = json.dumps(value).decode()
        return self._request(operation, data=replace_values(body, raw, body_field))

    def _valid_body(self, operation: Operation, *, as_platform: bool) -> Mapping[str, Any]:
        key = (operation, as_platform)
        if key not in self._valid_bodies:
            self._valid_bodies[key] = build_body(
                operation, self._body_values, as_platform=as_platform
            )
        return self._valid_bodies[key]

    def _value(self, name: str) -> str:
        if name in self._globex.ids:
            return self._globex.ids[name]
        value: str = getattr(self._globex, name)
        return value

    def _cursor(self, tenant: PopulatedTenant, list_name: str) -> str:
        key = (tenant.tenant.id, list_name)
        if key not in self._cursors:
            self.database.expect_writes()
            self._cursors[key] = list_cursor(tenant.tenant, list_name)
            self.database.restore()
        return self._cursors[key]


def _value_type(value_name: str) -> str:
    if value_name in FOREIGN_NUMBERS:
        return "number"
    return "text" if value_name == "marker" else "id"


def _made_up_value(value_name: str) -> str:
    """Return a value of the same kind that no tenant has."""
    match _value_type(value_name):
        case "number":
            return fresh_number()
        case "text":
            return f"globex{uuid4().hex[:12]}"
    return str(uuid4())
