"""The phrases that follow the agent's actions."""

import pytest

from vca.conversation.action_phrases import ActionResult, select_phrases
from vca.conversation.types import HangUp, TakeMessage, Transfer, TransferToFallback

MESSAGE = ActionResult(TakeMessage(None, None, "Call me."))
OTHER_MESSAGE = ActionResult(TakeMessage(None, None, "Call again."))
TRANSFER = ActionResult(Transfer("sales"))
NO_TRANSFER = ActionResult(Transfer("sales"), is_done=False)
FALLBACK = ActionResult(TransferToFallback())
NO_FALLBACK = ActionResult(TransferToFallback(), is_done=False)
END = ActionResult(HangUp("agent_hangup"))


@pytest.mark.parametrize(
    ("results", "if_silent", "otherwise"),
    [
        ([MESSAGE], ["noted", "anything_else"], []),
        ([MESSAGE, OTHER_MESSAGE], ["noted", "anything_else"], []),
        ([TRANSFER], ["connecting"], []),
        ([FALLBACK], ["connecting"], []),
        ([END], ["goodbye"], []),
        ([MESSAGE, TRANSFER], ["noted", "connecting"], []),
        ([MESSAGE, END], ["noted", "goodbye"], []),
        ([NO_TRANSFER], ["not_connected"], ["not_connected"]),
        ([MESSAGE, NO_TRANSFER], ["noted", "not_connected"], ["not_connected"]),
        ([NO_FALLBACK], ["not_done", "goodbye"], ["not_done", "goodbye"]),
    ],
)
def test_success_is_reported_by_a_silent_agent_and_failure_by_every_one(
    results: list[ActionResult], if_silent: list[str], otherwise: list[str]
) -> None:
    assert select_phrases(results, is_silent=True) == if_silent
    assert select_phrases(results, is_silent=False) == otherwise


def test_a_reply_without_actions_needs_no_phrase() -> None:
    assert select_phrases([], is_silent=False) == []
