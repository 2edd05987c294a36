"""Error responses of model servers, in whichever form they describe the error."""

from typing import Any

import httpx2
import pytest

from vca.conversation.llm.openai_errors import ErrorTranslator, status_error
from vca.kit import json

NO_TEXTS: tuple[str, ...] = ()
TRANSLATOR = ErrorTranslator("sk-secret-4711")


def response_of(status: int, content: Any) -> httpx2.Response:
    body = content if isinstance(content, bytes) else json.dumps(content)
    request = httpx2.Request("POST", "https://models.example/v1/chat/completions")
    return httpx2.Response(status, content=body, request=request)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 422])
@pytest.mark.parametrize("content", [b"", b"Moved", b"<html>Sign in</html>", {}, [], 5, None])
def test_a_redirection_or_a_body_of_another_form_is_a_refusal(status: int, content: Any) -> None:
    error = TRANSLATOR.translate(status_error(response_of(status, content)), NO_TEXTS)

    assert (error.failure, error.permanent) == ("refused", True)
    assert (error.server_status, error.server_code) == (status, None)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"error": {"message": "No such model.", "code": "model_not_found"}}, "model_not_found"),
        ({"error": {"message": "No such model.", "type": "not_found_error"}}, "not_found_error"),
        ([{"error": {"message": "No such model.", "status": "NOT_FOUND"}}], "not_found"),
        ({"error": {"message": "No such model.", "code": 404}}, None),
        ({"object": "error", "message": "No such model.", "code": 404}, None),
        ({"error": "No such model."}, None),
        ({"error": None, "message": "No such model."}, None),
        ({"detail": "No such model."}, None),
        (b"No such model.", None),
    ],
)
def test_code_and_message_are_read_in_every_form(content: Any, code: str | None) -> None:
    error = TRANSLATOR.translate(status_error(response_of(404, content)), NO_TEXTS)

    assert (error.server_code, error.server_message) == (code, "No such model.")
