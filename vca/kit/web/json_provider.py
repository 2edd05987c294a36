"""JSON in requests and responses: parsed and written by `vca.kit.json`."""

from typing import Any

from flask import Response
from flask.json.provider import JSONProvider
from typing_extensions import override

from vca.kit import json


class OrjsonProvider(JSONProvider):
    """Flask's JSON provider, based on orjson."""

    @override
    def dumps(self, obj: Any, **_: Any) -> str:
        return json.dumps(obj).decode()

    @override
    def loads(self, s: str | bytes, **_: Any) -> Any:
        return json.strict_loads(s.encode() if isinstance(s, str) else s)

    @override
    def response(self, *args: Any, **kwargs: Any) -> Response:
        values: Any = args or kwargs or None
        value = args[0] if len(args) == 1 else values
        return Response(json.dumps(value), mimetype="application/json")
