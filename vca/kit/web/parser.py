"""The strict request parser behind `@blp.arguments`.

webargs turns only two exceptions of a JSON loader into responses, and flask-smorest does not use
Flask's JSON provider. Therefore the strict checks are implemented here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_to_bytes

import marshmallow
from flask import Request, g, request
from typing_extensions import override
from webargs.flaskparser import FlaskParser
from webargs.multidictproxy import MultiDictProxy
from werkzeug.exceptions import HTTPException, LengthRequired, UnsupportedMediaType

from vca.kit.errors import DomainError, FieldError, InvalidInput
from vca.kit.json import InvalidJson, escape_pointer_step, is_storable, strict_loads
from vca.kit.web.schema import Schema

_ARGUMENTS_ATTRIBUTE = "__arguments__"


@dataclass(frozen=True)
class ArgumentSchema:
    """An argument of a view: its schema, and the location of its value in the request."""

    schema: Schema
    location: str


def declare_argument(view: Callable[..., Any], argument: ArgumentSchema) -> None:
    """Add an argument to those that the view declares."""
    setattr(view, _ARGUMENTS_ATTRIBUTE, (argument, *declared_arguments(view)))


def declared_arguments(view: Callable[..., Any]) -> Sequence[ArgumentSchema]:
    """Return the arguments that a view declares."""
    arguments: Sequence[ArgumentSchema] = getattr(view, _ARGUMENTS_ATTRIBUTE, ())
    return arguments


class UnreadableBody(InvalidInput):
    """The body is not JSON, or JSON that the strict parser rejects."""

    code = "unreadable-body"


class StrictParser(FlaskParser):
    """Rejects ambiguous input with status 400 and a JSON pointer for each invalid field."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION = {
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": marshmallow.RAISE,
        "json": marshmallow.RAISE,
    }

    def parse(self, argmap: Any, req: Any = None, *, location: Any = None, **options: Any) -> Any:
        """Do as webargs does, but use arguments that were parsed ahead, and skip empty queries."""
        ahead = g.get("arguments_ahead")
        if ahead and (outcome := ahead.pop(id(argmap), None)) is not None:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        if location == "query" and isinstance(argmap, Schema) and not request.query_string:
            return dict(argmap.defaults)
        return super().parse(argmap, req, location=location, **options)

    def parse_ahead(self, arguments: Sequence[ArgumentSchema]) -> None:
        """Parse the current request's arguments now; the view gets them, or the error, later.

        The view runs in a transaction, which a slow client must not keep open.
        """
        outcomes: dict[int, Any] = {}
        for argument in arguments:
            schema = argument.schema
            try:
                outcomes[id(schema)] = self.parse(schema, request, location=argument.location)
            except (DomainError, HTTPException) as error:
                outcomes[id(schema)] = error
                break
        g.arguments_ahead = outcomes

    @override
    def load_json(self, req: Request, schema: marshmallow.Schema) -> Any:
        check_body(req)
        if req.mimetype != "application/json":
            raise UnsupportedMediaType("The body must be application/json.")
        if req.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("The body must be UTF-8.")
        body = req.get_data(cache=True)
        try:
            value = strict_loads(body)
        except InvalidJson as error:
            raise _body_error(error) from None
        if not isinstance(value, dict):
            raise UnreadableBody("The body must be a JSON object.")
        return value

    @override
    def load_querystring(self, req: Request, schema: marshmallow.Schema) -> Any:
        check_query(req)
        if not req.args:
            return {}
        for name, values in req.args.lists():
            if len(values) > 1 or not is_storable(name + values[0]):
                raise InvalidInput(
                    "The query is not valid.",
                    errors=[FieldError(_pointer(name), "Must be one readable value.", "query")],
                )
        return MultiDictProxy(req.args, schema)

    @override
    def handle_error(
        self,
        error: marshmallow.ValidationError,
        req: Request,
        schema: marshmallow.Schema,
        **_: Any,
    ) -> NoReturn:
        raise InvalidInput("The request is not valid.", errors=_field_errors(error)) from None


def check_body(req: Request) -> None:
    """Reject transfer and content encodings, with which a body could exceed its declared length.

    A chunked body over the limit would reach a Flask view silently truncated.
    """
    if req.headers.get("Transfer-Encoding"):
        raise LengthRequired("A request with a body must have a Content-Length header.")
    if req.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def _body_error(error: InvalidJson) -> InvalidInput:
    if error.pointer is None:
        return UnreadableBody(str(error))
    fields = [FieldError(error.pointer, str(error))]
    return InvalidInput("The request is not valid.", errors=fields)


def check_query(req: Request) -> None:
    """Reject a query that is not valid UTF-8.

    Werkzeug would raise UnicodeDecodeError for raw bytes, and leave percent-encoded ones as they
    are.
    """
    if not req.query_string.isascii():
        raise InvalidInput("The query is not percent-encoded.")
    for pair in req.query_string.split(b"&"):
        try:
            unquote_to_bytes(pair).decode("utf-8")
        except UnicodeDecodeError:
            name = unquote(pair.partition(b"=")[0].decode())
            error = FieldError(_pointer(name), "Must be one readable value.", "query")
            raise InvalidInput("The query is not valid.", errors=[error]) from None


def _field_errors(error: marshmallow.ValidationError) -> list[FieldError]:
    errors: list[FieldError] = []
    messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
    for location, fields in messages.items():
        source = "query" if location == "query" else "body"
        for pointer, detail in _flatten(fields):
            errors.append(FieldError(pointer, detail, source))  # type: ignore[arg-type]
    return errors[:50]


class PointerStep(str):
    """A key of nested messages that is always a step of the pointer, also `key` and `value`."""

    __slots__ = ()


def _flatten(messages: Any, path: str = "") -> list[tuple[str, str]]:
    """Return marshmallow's nested messages as (JSON pointer, message) pairs."""
    if isinstance(messages, dict):
        flat = []
        for name, inner in messages.items():
            is_structural = not isinstance(name, PointerStep) and (
                name == "_schema" or (path and name in ("key", "value"))
            )
            step = "" if is_structural else _pointer(str(name))
            flat += _flatten(inner, path + step)
        return flat
    if isinstance(messages, list):  # a validator of a whole field may return nested messages
        return [pair for message in messages for pair in _flatten(message, path)]
    return [(path, str(messages))]


def _pointer(name: str) -> str:
    return f"/{escape_pointer_step(name)}"
