"""Access declarations: each operation declares who may use it, and the API layer enforces it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import g, has_request_context

from vca.kit.errors import DomainError, FieldError

View = TypeVar("View", bound=Callable[..., Any])
Audience = Literal["anyone", "any_key", "platform", "tenant", "carrier"]
Transaction = Literal["nothing", "public", "tenant", "tenant_read"]
Idempotency = Literal["none", "answer", "id"]

_ACCESS_ATTRIBUTE = "__access__"


class PlatformKeyNeeded(DomainError):
    """The operation requires a platform key."""

    status = 403
    code = "platform-key-needed"

    def __init__(self, detail: str = "This operation requires a platform key.") -> None:
        super().__init__(detail)


class ScopeMissing(DomainError):
    """The API key lacks a scope."""

    status = 403
    code = "scope-missing"

    def __init__(self, scope: str, *, errors: Collection[FieldError] = ()) -> None:
        purpose = " that these changes need" if errors else ""
        super().__init__(f"The API key does not have the scope {scope}{purpose}.", errors=[*errors])


@dataclass(frozen=True)
class ScopedField:
    """A field of a body that needs one more scope than its operation, if its value changes so.

    `pointer` is the field's JSON pointer. `needs_scope` takes the old and the new value and returns
    whether that change needs the scope; it is not called for equal values.
    """

    pointer: str
    scope: str
    needs_scope: Callable[[Any, Any], bool] = lambda old, new: True

    def is_needed(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Return whether a change from one document to the other needs the scope."""
        values = _value_at(old, self.pointer), _value_at(new, self.pointer)
        return values[0] != values[1] and self.needs_scope(*values)


@dataclass(frozen=True)
class Access:
    """Who may use an operation, and which transaction the API layer opens for it.

    `transaction="nothing"` is for operations that call a model or a carrier. They open short
    transactions themselves, so that none is open while the network is used. With "tenant_read" the
    operation gets no session but `context.request_reader`, which executes each statement as a
    transaction of its own, for lists that are not audited. `additional_scope` is a
    second required scope, for operations that change something and also return content.

    `idempotency` says what a repeated request with the same Idempotency-Key returns: the stored
    response ("answer"), or only the `id` of the created resource if the response contains a secret
    that is shown once. With "none" the operation does not accept the header.

    `budget_s` is the time limit of an operation that may take longer than is usual for its kind.

    `calls_out` says that an operation without a transaction waits for another system, and so needs
    a place for that from its start to its end. One that waits rarely or never sets it to False, and
    uses `context.calling_out` around the part that waits.
    """

    audience: Audience
    scope: str | None = None
    transaction: Transaction = "nothing"
    when_suspended: bool = False
    when_deleted: bool = False
    additional_scope: str | None = None
    idempotency: Idempotency = "none"
    budget_s: float | None = None
    calls_out: bool = True

    def __post_init__(self) -> None:
        is_read = not self.writes and "content" not in (self.scope, self.additional_scope)
        if self.transaction == "tenant_read" and not is_read:
            raise ValueError("an audited operation needs a session")

    @property
    def writes(self) -> bool:
        """Whether the operation needs a scope that may change resources."""
        return self.scope in ("write", "admin")

    def is_audited(self, method: str) -> bool:
        """Return whether requests are audited: they change something or read content."""
        is_read = method in ("GET", "HEAD")
        return "content" in (self.scope, self.additional_scope) or (self.writes and not is_read)

    @property
    def needs_place(self) -> bool:
        """Return whether the whole operation needs a place for calling another system."""
        is_of_a_tenant = self.audience in ("platform", "tenant")
        return self.transaction == "nothing" and is_of_a_tenant and self.calls_out

    @property
    def needs_schema(self) -> bool:
        """Return whether the operation uses the tenant's schema, and not only `public`."""
        return self.transaction != "public"


def access(
    audience: Audience,
    scope: str | None = None,
    *,
    transaction: Transaction = "nothing",
    when_suspended: bool = False,
    when_deleted: bool = False,
    additional_scope: str | None = None,
    idempotency: Idempotency = "none",
    budget_s: float | None = None,
    calls_out: bool = True,
) -> Callable[[View], View]:
    """Declare the guard of an operation; each view needs exactly one, or the app does not start.

    `when_suspended`: a tenant's own key may use the operation while the tenant is suspended.
    `when_deleted`: a platform key may use it on a deleted tenant. `additional_scope`: a second
    required scope. `idempotency`: whether it accepts an Idempotency-Key, see `Access`. `budget_s`:
    its time limit in seconds, instead of the default. `calls_out`: see `Access`.
    """
    declaration = Access(
        audience,
        scope,
        transaction,
        when_suspended,
        when_deleted,
        additional_scope,
        idempotency,
        budget_s,
        calls_out,
    )

    def decorate(view: View) -> View:
        if hasattr(view, _ACCESS_ATTRIBUTE):
            raise TypeError(f"{view.__name__} declares its access twice")
        setattr(view, _ACCESS_ATTRIBUTE, declaration)
        return view

    return decorate


def declared_access(view: Callable[..., Any]) -> Access | None:
    """Return the access declaration of a view, also through decorators."""
    declaration: Access | None = getattr(view, _ACCESS_ATTRIBUTE, None)
    return declaration


def caller_has_scope(scope: str) -> bool:
    """Return whether the key of the current request has a scope; commands have every scope."""
    return not has_request_context() or scope in g.caller.scopes


def require_field_scopes(
    fields: Iterable[ScopedField],
    *,
    scopes: Collection[str],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
) -> None:
    """Check that a key with `scopes` may change the values of `old` to those of `new`.

    Both are whole documents: a field that the request omits has its old value in `new`. Raises
    ScopeMissing with a pointer per field; if several scopes are missing, for the first of them.
    """
    missing: dict[str, list[FieldError]] = {}
    for field in fields:
        if field.scope in scopes or not field.is_needed(old, new):
            continue
        detail = f"This change needs the scope {field.scope}."
        missing.setdefault(field.scope, []).append(FieldError(field.pointer, detail))
    for scope, errors in missing.items():
        raise ScopeMissing(scope, errors=errors)


def _value_at(document: Mapping[str, Any], pointer: str) -> Any:
    """Return the value at a JSON pointer, or None if a part of the path is missing."""
    value: Any = document
    for name in pointer.removeprefix("/").split("/"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
