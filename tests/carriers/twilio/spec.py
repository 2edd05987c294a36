"""Twilio's own OpenAPI document, as a judge of what is asked of the fake and what it answers."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

HOST = "https://api.twilio.com"
_FILE = Path(__file__).parent / "twilio_voice_v2010.json"
_NUMBER = "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json"
_FORM = "application/x-www-form-urlencoded"


class Spec:
    """The document; what it finds is told in words, nothing found is good."""

    def __init__(self) -> None:
        self._document = _document()
        # Its Accounts.json has no list of parameters that the strict validation would take.
        self._openapi = OpenAPI.from_dict(
            self._document,  # type: ignore[arg-type] # a dict is a schema
            config=Config(spec_validator_cls=None),
        )
        self._paths = {
            re.compile(re.sub(r"\{[^}]+\}", "[^/.]+", path).replace(".json", r"\.json")): path
            for path in self._document["paths"]
        }

    def knows(self, method: str, path: str) -> bool:
        """Whether Twilio has this operation."""
        return self._operation(method, path) is not None

    def of_request(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        """What is wrong with a request."""
        return [
            *self._unknown(method, path, query, body),
            *_told(self._openapi.iter_request_errors(_request(method, path, query, headers, body))),
        ]

    def of_answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], status: int, body: Any
    ) -> list[str]:
        """What is wrong with an answer of success."""
        request = _request(method, path, query, headers, b"")
        response = MockResponse(json.dumps(body).encode() if body is not None else b"", status)
        return _told(self._openapi.iter_response_errors(request, response))

    def _unknown(self, method: str, path: str, query: str, body: bytes) -> list[str]:
        """Names that the document does not have: Twilio would ignore them, and so nobody would."""
        operation = self._operation(method, path) or {}
        asked = {it["name"] for it in operation.get("parameters", ()) if it["in"] == "query"}
        content = operation.get("requestBody", {}).get("content", {})
        taken = set(content[_FORM]["schema"]["properties"]) if content else set()
        names = {name for name, _ in parse_qsl(query, keep_blank_values=True)} - asked
        names |= {name for name, _ in parse_qsl(body.decode(), keep_blank_values=True)} - taken
        return [f"unknown: {name}" for name in sorted(names)]

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, template in self._paths.items():
            if pattern.fullmatch(path):
                found: dict[str, Any] | None = self._document["paths"][template].get(method.lower())
                return found
        return None


@cache
def the_spec() -> Spec:
    """Read once: it takes half a second."""
    return Spec()


def _document() -> dict[str, Any]:
    """The document, with what Twilio does beyond it: an empty text clears a field of a number."""
    document: dict[str, Any] = json.loads(_FILE.read_text())
    content = document["paths"][_NUMBER]["post"]["requestBody"]["content"]
    fields = content[_FORM]["schema"]["properties"]
    for name in ("VoiceApplicationSid", "TrunkSid"):
        fields[name].pop("minLength")
        fields[name]["pattern"] = f"{fields[name]['pattern']}|^$"
    return document


def _request(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> MockRequest:
    given = {name: text for name, text in headers.items() if name.lower() == "authorization"}
    pairs: Any = parse_qsl(query, keep_blank_values=True)
    return MockRequest(HOST, method, path, args=pairs, headers=given, data=body, content_type=_FORM)


def _told(errors: Iterable[Exception]) -> list[str]:
    return [f"{error}: {error.__cause__ or ''}" for error in errors]
