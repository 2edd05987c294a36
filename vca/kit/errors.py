"""Expected failures. Each is a subclass of DomainError, defined in the module that raises it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Literal


@dataclass(frozen=True)
class FieldError:
    """One invalid input value; `pointer` is an RFC 6901 JSON pointer into `source`."""

    pointer: str
    detail: str
    source: Literal["body", "query", "path", "header"] = "body"

    def as_dict(self) -> dict[str, str]:
        """Return the error as an entry of a problem document."""
        return {"in": self.source, "pointer": self.pointer, "detail": self.detail}


class DomainError(Exception):
    """An expected failure, which the API layer turns into a problem document.

    `status`, `code` and `members`, which are further members of the problem document, are part of
    the API. `detail` is for people and never contains a secret.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad-request"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: int | None = None,
        code: str | None = None,
        members: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.problem_code = code or self.code
        self.members = dict(members or {})

    @property
    def title(self) -> str:
        """The phrase of the HTTP status."""
        return HTTPStatus(self.status).phrase


class InvalidInput(DomainError):
    """Well-formed input that is not acceptable; names the field."""

    status = 400
    code = "invalid-input"

    @classmethod
    def field(cls, name: str, detail: str) -> "InvalidInput":
        """Return an error about one top-level field of the body."""
        return cls("The request is not valid.", errors=[FieldError(f"/{name}", detail)])


class NotFound(DomainError):
    """The resource does not exist, or belongs to another or a deleted tenant: same response."""

    status = 404
    code = "not-found"

    def __init__(self) -> None:
        super().__init__("There is no such resource.")


class Conflict(DomainError):
    """The operation is not possible in the current state."""

    status = 409
    code = "conflict"


class Unavailable(DomainError):
    """A dependency is unavailable; the client may retry."""

    status = 503
    code = "unavailable"
