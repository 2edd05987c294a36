"""Requests with every optional part, and how known servers reject one of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract.suites.llm import PROFILE_WITH_TOOLS, make_request
from tests.fakes import openai_server as openai_behaviours
from vca.conversation import tools
from vca.conversation.llm import ModelRequest

Body = dict[str, Any]
TEXT = openai_behaviours.TEXT
WARM_PROFILE = replace(PROFILE_WITH_TOOLS, temperature=0.3)


def full_request(text: str = "Hello?", system: str = "Be kind.") -> ModelRequest:
    return replace(
        make_request(text, profile=WARM_PROFILE, system=system),
        tools=tools.available_tools(WARM_PROFILE),
    )


def reject(
    is_rejected: Callable[[Body], object], status: int = 400, **error: Any
) -> Callable[[Any], None]:
    """Return a behaviour that refuses some request bodies with this error and accepts others."""

    def behave(handler: Any) -> None:
        if is_rejected(handler.server.requests[-1].body):
            openai_behaviours.json_response(status, {"error": error})(handler)
        else:
            openai_behaviours.ok(handler)

    return behave


def has_union_type(body: Body) -> bool:
    return '"null"' in openai_behaviours.dump(body.get("tools"))


def has_system_role(body: Body) -> bool:
    return str(body["messages"][0]["role"]) == "system"


# The condition, and the status and message with which known servers reject it.
REJECTIONS: dict[str, tuple[Callable[[Body], object], int, dict[str, Any]]] = {
    "stream_options": (
        lambda body: "stream_options" in body,
        400,
        {"message": "Unrecognized request argument supplied: stream_options"},
    ),
    "temperature": (
        lambda body: "temperature" in body,
        400,
        {
            "message": "Unsupported value: 'temperature' does not support 0.3 with this model.",
            "param": "temperature",
            "code": "unsupported_value",
        },
    ),
    "tools": (
        lambda body: "tools" in body,
        400,
        {"message": "registry.ollama.ai/library/gemma:2b does not support tools"},
    ),
    "tools of OpenRouter": (
        lambda body: "tools" in body,
        404,
        {"message": "No endpoints found that support tool use.", "code": 404},
    ),
    "tools of llama.cpp": (
        lambda body: "tools" in body,
        500,
        {"message": "tools param requires --jinja flag", "code": 500, "type": "server_error"},
    ),
    "tools of vLLM": (
        lambda body: "tools" in body,
        400,
        {
            "message": '"auto" tool choice requires --enable-auto-tool-choice and '
            "--tool-call-parser to be set"
        },
    ),
    "nullable_types": (
        has_union_type,
        400,
        {
            "message": 'Invalid JSON payload received. Unknown name "type" at \'tools[0].'
            "function_declarations[0].parameters.properties[0].value': Proto field is not "
            "repeating, cannot start list."
        },
    ),
    "additional_properties": (
        lambda body: "additionalProperties" in openai_behaviours.dump(body.get("tools")),
        400,
        {
            "message": 'Invalid JSON payload received. Unknown name "additionalProperties" at '
            "'tools[0].function_declarations[0].parameters': Cannot find field."
        },
    ),
    "system_role": (
        has_system_role,
        400,
        {"message": "System role not supported", "code": 400},
    ),
    "system_role of Google": (
        has_system_role,
        400,
        {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"},
    ),
}
