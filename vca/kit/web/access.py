"""Access declarations: each operation declares who may use it, and the API layer enforces it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from vca.kit.errors import DomainError

View = TypeVar("View", bound=Callable[..., Any])
Audience = Literal["anyone", "any_key", "platform", "tenant", "carrier"]
Transaction = Literal["nothing", "public", "tenant"]
Idempotency = Literal["none", "answer", "id"]

_ACCESS_ATTRIBUTE = "__access__"


class PlatformKeyNeeded(DomainError):
    """The operation requires a platform key."""

    status = 403
    code = "platform-key-needed"

    def __init__(self, detail: str = "This operation requires a platform key.") -> None:
        super().__init__(detail)


@dataclass(frozen=True)
class Access:
    """Who may use an operation, and which transaction the API layer opens for it.

    `transaction="nothing"` is for operations that call a model or a carrier. They open short
    transactions themselves, so that none is open while the network is used. `additional_scope` is a
    second required scope, for operations that change something and also return content.

    `idempotency` says what a repeated request with the same Idempotency-Key returns: the stored
    response ("answer"), or only the `id` of the created resource if the response contains a secret
    that is shown once. With "none" the operation does not accept the header.

    `budget_s` is the time limit of an operation that may take longer than is usual for its kind.

    `calls_out` says that an operation without a transaction waits for another system as a whole, so
    that it needs one of the places for that. One that does so rarely, or never, sets it to False,
    and takes a place by `context.calling_out` around the part that does.
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
        """Return whether the operation as a whole waits for another system."""
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
