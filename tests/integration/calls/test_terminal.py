"""A telephone in the terminal: words as they come, keys, and what the agent does besides."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar

import click
import pytest
from click.testing import Result
from flask import Flask

from tests.support.factories import Tenant
from vca.conversation.llm import ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens
from vca.kit import json
from vca.tenant.calls.core import call_services

NOTE = ToolCall("take_message", '{"name": "Jane", "number": "555", "reason": "Call back."}')
AWAY = ToolCall("transfer", '{"target": "front desk"}')
END = ToolCall("end_call", "{}")


class Model(ModelClient):
    """Does what the caller's words ask for, and tells what it has heard."""

    deterministic: ClassVar[bool] = True

    def stream(self, request: ModelRequest) -> Generator[str | ToolCall, None, Tokens]:
        heard = request.messages[-1].text
        yield f"I have heard {heard} just now. "
        yield "That is all of it."
        yield from (tool for word, tool in _TOOLS.items() if word in heard)
        return Tokens(10, 2)


_TOOLS = {"note": NOTE, "desk": AWAY, "bye": END}


@pytest.fixture
def number(app: Flask, acme: Tenant) -> str:
    acme.profile(
        greeting="Acme.",
        tools=["end_call", "transfer", "take_message"],
        transfer_targets={"front desk": {"number": "+442079460123", "description": "People."}},
    )
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(Model()))
    )
    found: str = acme.number()["did_number"]
    return found


def _typed(app: Flask, number: str, *lines: str, options: tuple[str, ...] = ()) -> Result:
    words = ["calls", "simulate", number, *options]
    typed = "".join(f"{line}\n" for line in lines)
    result = app.test_cli_runner().invoke(args=words, input=typed)
    assert result.exit_code == 0, result.output
    return result


def test_what_is_typed_is_answered_until_one_side_hangs_up(app: Flask, number: str) -> None:
    shown = _typed(app, number, "Hello.", "bye", "Are you there?").stdout

    assert "agent  Acme.\n" in shown
    assert "agent  I have heard Hello. just now. That is all of it.\n" in shown
    assert "· hangs up (agent_hangup)" in shown
    assert "Are you there?" not in shown
    assert "end_reason          agent_hangup" in shown


def test_each_clause_is_shown_when_it_is_said(
    app: Flask, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    echo = click.echo

    def note(message: Any = None, **options: Any) -> None:
        shown.append(str(message))
        echo(message, **options)

    monkeypatch.setattr(click, "echo", note)

    _typed(app, number, "Hello.")

    assert " That is all of it." in shown


@pytest.mark.parametrize("last", ["/hangup", None])
def test_hanging_up_and_the_end_of_input_are_the_callers_end(
    app: Flask, acme: Tenant, number: str, last: str | None
) -> None:
    _typed(app, number, "Hello.", *filter(None, [last]))

    [call] = acme.get("/calls").json
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")


def test_keys_are_pressed(app: Flask, number: str) -> None:
    result = _typed(app, number, "/press 1 #", "/press x", "/press")

    assert "I have heard (pressed 1 #) just now." in result.stdout
    assert result.stderr.count("Keys are 0-9, * and #") == 2


def test_what_the_agent_does_is_told(app: Flask, number: str) -> None:
    shown = _typed(app, number, "Please note this.", "The desk, please.", "Still there?").stdout

    assert "· took a message from Jane 555: Call back." in shown
    assert "· transfers the caller to front desk" in shown
    assert "· simulations dial nobody: no answer" in shown
    assert "I have heard Still there? just now." in shown
    assert "+442079460123" not in shown


def test_the_record_tells_what_it_took_and_cost(app: Flask, number: str) -> None:
    shown = _typed(app, number, "Hello.", "And again.").stdout

    assert "tokens              24" in shown
    assert "latency             database " in shown
    assert "10+2 tokens)" in shown


def test_one_json_document_and_nothing_else(app: Flask, number: str) -> None:
    result = _typed(app, number, "note", "desk", "bye", options=("--json",))

    told = json.loads(result.stdout)
    assert told["end_reason"] == "agent_hangup"
    assert told["tokens"] == 36
    assert [action["kind"] for turn in told["turns"] for action in turn["actions"]] == [
        "take_message",
        "transfer",
        "hang_up",
    ]
    assert told["transfer"]["status"] == "no_answer"
