"""VCA's own phrases about the agent's actions, which follow the actions.

A phrase such as "I have noted that" is said once the message is stored, so that a caller never
hears about an action that failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vca.conversation.localised_phrases import PhraseKey
from vca.conversation.types import Action, TakeMessage


@dataclass(frozen=True)
class ActionResult:
    """An action of a reply, and whether it was done."""

    action: Action
    is_done: bool = True


def select_phrases(results: Sequence[ActionResult], *, is_silent: bool) -> list[PhraseKey]:
    """Return the phrases to say after the actions, in order.

    `is_silent`: the model said nothing itself. If it did, only failures need a phrase.
    """
    phrases: list[PhraseKey] = []
    for result in results:
        phrases += [
            phrase for phrase in _phrases_of_result(result, is_silent) if phrase not in phrases
        ]
    if is_silent and all(isinstance(result.action, TakeMessage) for result in results):
        phrases.append("anything_else")
    return phrases


def _phrases_of_result(result: ActionResult, is_silent: bool) -> list[PhraseKey]:
    match result.action.kind:
        case "transfer" if not result.is_done:
            return ["not_connected"]
        case "to_fallback" if not result.is_done:  # the call ends
            return ["not_done", "goodbye"]
        case _ if not is_silent:
            return []
        case "transfer" | "to_fallback":
            return ["connecting"]
        case "take_message":
            return ["noted"]
        case _:
            return ["goodbye"]
