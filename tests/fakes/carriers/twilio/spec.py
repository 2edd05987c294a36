"""Validate requests and responses of the fake Twilio against Twilio's own OpenAPI document."""

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


class TwilioSpec:
    """Twilio's OpenAPI document. Its methods return lists of errors."""

    def __init__(self) -> None:
        self._document = _load_document()
        # The document's Accounts.json has no list of parameters, which strict validation requires.
        self._openapi = OpenAPI.from_dict(
            self._document,
            config=Config(spec_validator_cls=None),  # type: ignore[arg-type] # typed too narrowly
        )
        self._paths = {
            re.compile(re.sub(r"\{[^}]+\}", "[^/.]+", path).replace(".json", r"\.json")): path
            for path in self._document["paths"]
        }

    def request_errors(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        """Return the errors of a request."""
        return [
            *self._unknown_names(method, path, query, body),
            *_format_errors(
                self._openapi.iter_request_errors(_mock_request(method, path, query, headers, body))
            ),
        ]

    def response_errors(
        self, method: str, path: str, query: str, headers: Mapping[str, str], status: int, body: Any
    ) -> list[str]:
        """Return the errors of a successful response."""
        request = _mock_request(method, path, query, headers, b"")
        response = MockResponse(json.dumps(body).encode() if body is not None else b"", status)
        return _format_errors(self._openapi.iter_response_errors(request, response))

    def _unknown_names(self, method: str, path: str, query: str, body: bytes) -> list[str]:
        """Return names that are not in the document, which Twilio would silently ignore."""
        operation = self._find_operation(method, path) or {}
        query_names = {
            parameter["name"]
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        }
        content = operation.get("requestBody", {}).get("content", {})
        body_names = set(content[_FORM]["schema"]["properties"]) if content else set()
        unknown = {name for name, _ in parse_qsl(query, keep_blank_values=True)} - query_names
        unknown |= {
            name for name, _ in parse_qsl(body.decode(), keep_blank_values=True)
        } - body_names
        return [f"unknown: {name}" for name in sorted(unknown)]

    def _find_operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, template in self._paths.items():
            if pattern.fullmatch(path):
                operation: dict[str, Any] | None = self._document["paths"][template].get(
                    method.lower()
                )
                return operation
        return None


@cache
def load_spec() -> TwilioSpec:
    """Return the document; reading it takes half a second, so it is cached."""
    return TwilioSpec()


def _load_document() -> dict[str, Any]:
    """Return the document, extended as Twilio behaves: an empty text clears a number's field."""
    document: dict[str, Any] = json.loads(_FILE.read_text())
    content = document["paths"][_NUMBER]["post"]["requestBody"]["content"]
    fields = content[_FORM]["schema"]["properties"]
    for name in ("VoiceApplicationSid", "TrunkSid"):
        fields[name].pop("minLength")
        fields[name]["pattern"] = f"{fields[name]['pattern']}|^$"
    return document


def _mock_request(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> MockRequest:
    auth_headers = {name: text for name, text in headers.items() if name.lower() == "authorization"}
    pairs: Any = parse_qsl(query, keep_blank_values=True)
    return MockRequest(
        HOST, method, path, args=pairs, headers=auth_headers, data=body, content_type=_FORM
    )


def _format_errors(errors: Iterable[Exception]) -> list[str]:
    return [f"{error}: {error.__cause__ or ''}" for error in errors]
