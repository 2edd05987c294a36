"""Each operation declares who may use it; the edge enforces what is declared here."""

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
    """Only operators may do this."""

    status = 403
    code = "platform-key-needed"

    def __init__(self, detail: str = "This needs a platform key.") -> None:
        super().__init__(detail)


@dataclass(frozen=True)
class Access:
    """Who may use an operation, and which transaction the edge opens around it.

    `opens="nothing"` is for operations that call out (a model, a carrier): they open short
    transactions themselves, so that none is open while the network is used. `also` is a second
    scope that is needed, of what changes something and answers with content.

    `repeats` says what a repetition under the same Idempotency-Key is told: the first `answer`, or
    the `id` of what was made where the answer holds a secret that is shown once. With "none" the
    operation takes no such header.

    `budget_s` is how long an operation may take, where that is more than is usual for its kind.
    """

    audience: Audience
    scope: str | None = None
    transaction: Transaction = "nothing"
    when_suspended: bool = False
    when_deleted: bool = False
    additional_scope: str | None = None
    idempotency: Idempotency = "none"
    budget_s: float | None = None

    @property
    def writes(self) -> bool:
        return self.scope in ("write", "admin")

    def is_audited(self, method: str) -> bool:
        """Whether a request is told in the audit: it changes something, or is shown content."""
        is_read = method in ("GET", "HEAD")
        return "content" in (self.scope, self.additional_scope) or (self.writes and not is_read)

    @property
    def needs_schema(self) -> bool:
        """Whether an operation of a tenant works in its schema, and not in `public` alone."""
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
) -> Callable[[View], View]:
    """Declare the guard of an operation; exactly one a view, or the app does not start.

    `when_suspended`: a tenant's own key may still do this while the tenant is suspended.
    `when_deleted`: a platform key may do this to a deleted tenant. `also`: a second scope.
    `repeats`: it takes an Idempotency-Key, see `Access`. `budget_s`: seconds, instead of the usual.
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
    )

    def decorate(view: View) -> View:
        if hasattr(view, _ACCESS_ATTRIBUTE):
            raise TypeError(f"{view.__name__} declares its access twice")
        setattr(view, _ACCESS_ATTRIBUTE, declaration)
        return view

    return decorate


def declared_access(view: Callable[..., Any]) -> Access | None:
    """What a view declares, seen through the decorators around it."""
    declaration: Access | None = getattr(view, _ACCESS_ATTRIBUTE, None)
    return declaration
