"""`flask calls simulate`: a simulated call in the terminal."""

from typing import Any, ClassVar

import click
import pytest
from click.testing import Result
from flask import Flask

from tests.fakes.models import Answer, streams_answer
from tests.support.factories import Tenant, fresh_number
from tests.support.services import use_services
from vca.conversation.llm import AnswerSummary, ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import json

TAKE_MESSAGE = ToolCall("take_message", '{"name": "Jane", "number": "555", "reason": "Call back."}')
TRANSFER = ToolCall("transfer", '{"target": "front desk"}')
END_CALL = ToolCall("end_call", "{}")


class EchoModel(ModelClient):
    """Repeats the utterance and calls the tools that its words name."""

    deterministic: ClassVar[bool] = True

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
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
    use_services(models=Models(EchoModel()))
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
    use_services(models=Models(ScriptedModel()))

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


# --- Options, and calls that no agent answers -----------------------------------------------------


def test_the_options_set_the_clock_the_profile_and_the_variables(
    app: Flask, acme: Tenant, number: str
) -> None:
    profile = acme.profile(greeting="Hi {{name}}, it is {{now}}.", is_default=False)
    acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "Another greeting."})
    options = ("--profile", profile["id"], "--version", "1", "--variable", "name=Jo = Joanna")

    output = _simulate(app, number, options=(*options, "--at", "2026-11-30T09:30:00Z")).stdout

    assert "agent  Hi Jo = Joanna, it is Monday, 30 November 2026, 09:30 (UTC)." in output
    assert f"ai_profile_id       {profile['id']}" in output
    assert "ai_profile_version  1" in output


@pytest.mark.parametrize(
    ("outcome", "end_reason"), [("answers", "transferred"), ("busy", "caller_hangup")]
)
def test_the_transfer_outcome_settles_a_transfer(
    app: Flask, acme: Tenant, number: str, outcome: str, end_reason: str
) -> None:
    options = ("--transfer-outcome", outcome)

    output = _simulate(app, number, "The desk, please.", options=options).stdout

    assert "· transfers the caller to front desk" in output
    assert "no answer" not in output
    [call] = acme.get("/calls").json
    assert (call["end_reason"], call["transfer"]["status"]) == (
        end_reason,
        "completed" if outcome == "answers" else outcome,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variable", "name"), "NAME=VALUE"),
        (("--variable", "Name=x"), "variable name"),
        (("--at", "tomorrow"), "at"),
        (("--version", "1"), "ai_profile_id"),
        (("--profile", "00000000-0000-4000-8000-000000000000"), "ai_profile_id"),
    ],
)
def test_invalid_options_are_errors_in_one_sentence(
    app: Flask, number: str, options: tuple[str, ...], message: str
) -> None:
    result = app.test_cli_runner().invoke(args=["calls", "simulate", number, *options])

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_closed_number_plays_its_sentence_and_prints_the_record(app: Flask, acme: Tenant) -> None:
    acme.patch("/settings", {"sentences": {"closed": "We are closed."}})
    number = acme.number(mode="closed")["did_number"]

    output = _simulate(app, number, "Hello?").stdout

    assert "We are closed." in output
    assert "· hangs up (closed)" in output
    assert "end_reason          closed" in output


def test_a_forward_is_printed(app: Flask, acme: Tenant) -> None:
    target = fresh_number()
    number = acme.number(mode="forward", forward_to=target)["did_number"]

    output = _simulate(app, number).stdout

    assert f"· forwards the caller to {target}, which is not dialled" in output


def test_the_line_after_the_request_for_a_voicemail_is_the_voicemail(
    app: Flask, acme: Tenant
) -> None:
    acme.profile()
    hours = {"weekly": {}, "closed_action": "voicemail"}
    number = acme.number(hours=hours)["did_number"]

    output = _simulate(app, number, "Call me back.", "Are you there?").stdout

    assert "· takes a voicemail: the next line" in output
    assert "end_reason          voicemail" in output
    [message] = acme.get("/messages", simulated="true").json
    assert message["reason"] == "Call me back."


def test_a_number_that_is_not_in_service_is_an_error(app: Flask, acme: Tenant) -> None:
    number = acme.number(is_active=False)["did_number"]

    result = app.test_cli_runner().invoke(args=["calls", "simulate", number])

    assert result.exit_code == 1
    assert "the number is not active (number_inactive)" in result.stderr
