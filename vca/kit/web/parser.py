"""The strict request parser under `@blp.arguments`.

webargs turns only two exceptions of a JSON loader into an answer, and flask-smorest does not ask
Flask's JSON provider; so strictness has to sit here.
"""

from typing import Any, NoReturn
from urllib.parse import unquote, unquote_to_bytes

import marshmallow
from flask import Request, request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import LengthRequired, UnsupportedMediaType

from vca.kit.errors import FieldError, InvalidInput
from vca.kit.json import InvalidJson, escape_pointer_step, is_storable, strict_loads
from vca.kit.web.schema import Schema


class UnreadableBody(InvalidInput):
    """The body is not JSON that a careful peer would send."""

    code = "unreadable-body"


class StrictParser(FlaskParser):
    """Refuses what it would have to guess about; answers 400 with a pointer for each field."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION = {
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": marshmallow.RAISE,
        "json": marshmallow.RAISE,
    }

    def parse(self, argmap: Any, req: Any = None, *, location: Any = None, **options: Any) -> Any:
        """As webargs', but an empty query is not asked what it means every time."""
        if location == "query" and isinstance(argmap, Schema) and not request.query_string:
            return dict(argmap.defaults)
        return super().parse(argmap, req, location=location, **options)

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

    def load_querystring(self, req: Request, schema: marshmallow.Schema) -> Any:
        check_query(req)
        if not req.args:
            return {}
        for name, values in req.args.lists():
            if len(values) > 1 or not is_storable(name + values[0]):
                raise InvalidInput(
                    "The query is not valid.",
                    errors=[FieldError(_pointer(name), "Not a single, readable value.", "query")],
                )
        return self._makeproxy(req.args, schema)

    def handle_error(
        self,
        error: marshmallow.ValidationError,
        req: Request,
        schema: marshmallow.Schema,
        **_: Any,
    ) -> NoReturn:
        raise InvalidInput("The request is not valid.", errors=_field_errors(error)) from None


def check_body(req: Request) -> None:
    """Refuse transfer and content codings that would let a body grow past its declared length.

    A chunked body over the limit reaches a Flask view silently cut off at the limit.
    """
    if req.headers.get("Transfer-Encoding"):
        raise LengthRequired("A body needs a Content-Length.")
    if req.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def _body_error(error: InvalidJson) -> InvalidInput:
    if error.pointer is None:
        return UnreadableBody(str(error))
    fields = [FieldError(error.pointer, str(error))]
    return InvalidInput("The request is not valid.", errors=fields)


def check_query(req: Request) -> None:
    """Refuse a query with bytes that are no text.

    Werkzeug would raise UnicodeDecodeError for raw ones, and leave encoded ones as they are.
    """
    if not req.query_string.isascii():
        raise InvalidInput("The query is not percent-encoded.")
    for pair in req.query_string.split(b"&"):
        try:
            unquote_to_bytes(pair).decode("utf-8")
        except UnicodeDecodeError:
            name = unquote(pair.partition(b"=")[0].decode())
            error = FieldError(_pointer(name), "Not a single, readable value.", "query")
            raise InvalidInput("The query is not valid.", errors=[error]) from None


def _field_errors(error: marshmallow.ValidationError) -> list[FieldError]:
    errors: list[FieldError] = []
    messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
    for location, fields in messages.items():
        source = "query" if location == "query" else "body"
        for pointer, detail in _flatten(fields):
            errors.append(FieldError(pointer, detail, source))  # type: ignore[arg-type]
    return errors[:50]


def _flatten(messages: Any, path: str = "") -> list[tuple[str, str]]:
    """marshmallow's nested messages as (JSON pointer, sentence) pairs."""
    if isinstance(messages, dict):
        flat = []
        for name, inner in messages.items():
            is_structural = name == "_schema" or (path and name in ("key", "value"))
            step = "" if is_structural else _pointer(str(name))
            flat += _flatten(inner, path + step)
        return flat
    if isinstance(messages, list):
        return [(path, str(message)) for message in messages]
    return [(path, str(messages))]


def _pointer(name: str) -> str:
    return f"/{escape_pointer_step(name)}"
