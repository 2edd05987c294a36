"""`flask calls simulate`: a simulated call in the terminal."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar

import click
import pytest
from click.testing import Result
from flask import Flask

from tests.support.factories import Tenant
from vca.conversation.llm import AnswerSummary, ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import json
from vca.tenant.calls.core import call_services

TAKE_MESSAGE = ToolCall("take_message", '{"name": "Jane", "number": "555", "reason": "Call back."}')
TRANSFER = ToolCall("transfer", '{"target": "front desk"}')
END_CALL = ToolCall("end_call", "{}")


class EchoModel(ModelClient):
    """Repeats the utterance and calls the tools that its words name."""

    deterministic: ClassVar[bool] = True

    def stream(self, request: ModelRequest) -> Generator[str | ToolCall, None, AnswerSummary]:
        utterance = request.messages[-1].text
        yield f"I have heard {utterance} just now. "
        yield "That is all of it."
        yield from (tool for word, tool in _TOOLS.items() if word in utterance)
        return AnswerSummary(Tokens(10, 2))


_TOOLS = {"note": TAKE_MESSAGE, "desk": TRANSFER, "bye": END_CALL}


@pytest.fixture
def number(app: Flask, acme: Tenant) -> str:
    """Return a number of acme that EchoModel answers."""
    acme.profile(
        greeting="Acme.",
        tools=["end_call", "transfer", "take_message"],
        transfer_targets={"front desk": {"number": "+442079460123", "description": "People."}},
    )
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(EchoModel()))
    )
    number: str = acme.number()["did_number"]
    return number


def _simulate(app: Flask, number: str, *lines: str, options: tuple[str, ...] = ()) -> Result:
    """Run the command, type these lines and return the result."""
    command = ["calls", "simulate", number, *options]
    input_text = "".join(f"{line}\n" for line in lines)
    result = app.test_cli_runner().invoke(args=command, input=input_text)
    assert result.exit_code == 0, result.output
    return result


def test_typed_lines_are_answered_until_one_side_hangs_up(app: Flask, number: str) -> None:
    output = _simulate(app, number, "Hello.", "bye", "Are you there?").stdout

    assert "agent  Acme.\n" in output
    assert "agent  I have heard Hello. just now. That is all of it.\n" in output
    assert "· hangs up (agent_hangup)" in output
    assert "Are you there?" not in output
    assert "end_reason          agent_hangup" in output


def test_each_spoken_chunk_is_printed_separately(
    app: Flask, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed_texts: list[str] = []
    echo = click.echo

    def record_and_echo(message: Any = None, **options: Any) -> None:
        printed_texts.append(str(message))
        echo(message, **options)

    monkeypatch.setattr(click, "echo", record_and_echo)

    _simulate(app, number, "Hello.")

    assert " That is all of it." in printed_texts


def test_one_line_says_that_a_scripted_model_answers(app: Flask, number: str) -> None:
    with_another_model = _simulate(app, number).stdout
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()))
    )

    text_lines = _simulate(app, number).stdout.splitlines()
    json_text = _simulate(app, number, options=("--json",)).stdout

    assert text_lines[0].startswith("(A scripted model answers, ")
    assert "set LLM_BASE_URL, LLM_API_KEY and LLM_MODEL in .env" in text_lines[0]
    assert "scripted" not in with_another_model
    assert "scripted" not in json_text


@pytest.mark.parametrize("last_line", ["/hangup", None])
def test_hangup_and_the_end_of_input_are_a_hang_up_of_the_caller(
    app: Flask, acme: Tenant, number: str, last_line: str | None
) -> None:
    _simulate(app, number, "Hello.", *filter(None, [last_line]))

    [call] = acme.get("/calls").json
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")


def test_the_press_command_sends_keys_and_rejects_other_characters(app: Flask, number: str) -> None:
    result = _simulate(app, number, "/press 1 #", "/press x", "/press")

    assert "I have heard (pressed 1 #) just now." in result.stdout
    assert result.stderr.count("Keys are 0-9, * and #") == 2


def test_actions_of_the_agent_are_printed(app: Flask, number: str) -> None:
    output = _simulate(app, number, "Please note this.", "The desk, please.", "Still there?").stdout

    assert "· took a message from Jane 555: Call back." in output
    assert "· transfers the caller to front desk" in output
    assert "· simulations dial nobody: no answer" in output
    assert "I have heard Still there? just now." in output
    assert "+442079460123" not in output


def test_the_summary_contains_tokens_and_latencies(app: Flask, number: str) -> None:
    output = _simulate(app, number, "Hello.", "And again.").stdout

    assert "tokens              24" in output
    assert "latency             database " in output
    assert "10+2 tokens)" in output


def test_the_json_option_prints_one_document(app: Flask, number: str) -> None:
    result = _simulate(app, number, "note", "desk", "bye", options=("--json",))

    document = json.loads(result.stdout)
    assert document["end_reason"] == "agent_hangup"
    assert document["tokens"] == 36
    assert [action["kind"] for turn in document["turns"] for action in turn["actions"]] == [
        "take_message",
        "transfer",
        "hang_up",
    ]
    assert document["transfer"]["status"] == "no_answer"
