"""Arguments of tool calls as models really write them."""

import pytest

from vca.conversation import tools
from vca.conversation.llm import ToolCall
from vca.conversation.types import Action, HangUp, Profile, TakeMessage, Transfer

PROFILE = Profile(
    "Ada",
    "receptionist",
    "Hi.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders", "front desk": ""},
)
END = HangUp("agent_hangup")
TO_SALES = Transfer("sales")


def judge(name: str, arguments: str) -> Action | str:
    return tools.validate_call(ToolCall(name, arguments), PROFILE)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        " ",
        "{}",
        "null",
        "[]",
        '""',
        '"null"',
        '"{}"',
        '{"": ""}',
        '{"input": {}}',
        '{"arguments": {}}',
        '{"reason": "caller said bye"}',
        "```json\n{}\n```",
        "```\n{}\n```",
    ],
)
def test_a_tool_without_arguments_reads_any_object_or_nothing(arguments: str) -> None:
    assert judge("end_call", arguments) == END


@pytest.mark.parametrize("arguments", ["5", "true", '"bye"', "{", "bye", "[" * 10_000])
def test_a_tool_without_arguments_reads_nothing_else(arguments: str) -> None:
    assert judge("end_call", arguments) == "bad_arguments"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"target": "sales"}',
        ' {"target": "sales"}\n',
        '{"target": "sales", "reason": "wants prices"}',
        '{"input": {"target": "sales"}}',
        '{"arguments": "{\\"target\\": \\"sales\\"}"}',
        '[{"target": "sales"}]',
        '"{\\"target\\": \\"sales\\"}"',
        '"\\"{\\\\\\"target\\\\\\": \\\\\\"sales\\\\\\"}\\""',
        '```json\n{"target": "sales"}\n```',
        '```{"target": "sales"}```',
    ],
)
def test_a_target_is_read_from_what_models_send(arguments: str) -> None:
    assert judge("transfer", arguments) == TO_SALES


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "bad_arguments"),
        ("null", "bad_arguments"),
        ("[]", "bad_arguments"),
        ('{"target": 5}', "bad_arguments"),
        ('{"target": null}', "bad_arguments"),
        ('{"target": ["sales"]}', "bad_arguments"),
        ('["sales"]', "bad_arguments"),
        ('"sales"', "bad_arguments"),
        ('{"target": "Sales"}', "unknown_target"),
        ('{"target": "sales "}', "unknown_target"),
        ('{"target": "\\"sales\\""}', "unknown_target"),
        ('[{"target": "sales"}, {"target": "front desk"}]', "bad_arguments"),
    ],
)
def test_a_target_is_compared_exactly(arguments: str, reason: str) -> None:
    assert judge("transfer", arguments) == reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"reason": "Call back."}', TakeMessage(None, None, "Call back.")),
        ('{"name": "Ann", "reason": "Call back."}', TakeMessage("Ann", None, "Call back.")),
        (
            '{"name": "null", "number": "None", "reason": "Call back."}',
            TakeMessage(None, None, "Call back."),
        ),
        (
            '{"name": "Ann", "number": 4155550100, "reason": "Call back."}',
            TakeMessage("Ann", "4155550100", "Call back."),
        ),
        ('{"name": 7, "reason": 112}', TakeMessage("7", None, "112")),
        (
            '{"name": "Ann", "number": null, "reason": "Call back.", "urgency": "high"}',
            TakeMessage("Ann", None, "Call back."),
        ),
        (
            '{"name": "' + "A" * 300 + '", "reason": "' + "R" * 3_000 + '"}',
            TakeMessage("A" * 200, None, "R" * 2_000),
        ),
    ],
)
def test_a_message_is_read_from_what_models_send(arguments: str, message: TakeMessage) -> None:
    assert judge("take_message", arguments) == message


@pytest.mark.parametrize(
    "arguments",
    ["", "{}", '{"reason": ""}', '{"reason": null}', '{"reason": true}', '{"reason": {"a": 1}}'],
)
def test_a_message_without_a_text_is_refused(arguments: str) -> None:
    assert judge("take_message", arguments) == "bad_arguments"


@pytest.mark.parametrize("name", tools.TOOLS)
def test_what_is_sent_to_a_model_stays_strict(name: str) -> None:
    (spec,) = [spec for spec in tools.available_tools(PROFILE) if spec.name == name]

    assert spec.parameters["additionalProperties"] is False
    assert spec.parameters["required"] == list(spec.parameters["properties"])
