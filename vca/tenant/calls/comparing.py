"""Two calls with the same caller's words, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from vca.conversation import spoken
from vca.tenant.calls import latency
from vca.tenant.calls.models import Call, Turn

StoppedEarly = Literal["call_ended", "out_of_time"]


@dataclass(frozen=True)
class Told:
    """A call and all that was said in it."""

    call: Call
    turns: Sequence[Turn]


@dataclass(frozen=True)
class _Exchange:
    """What the caller said, None for nothing yet, and what the agent said to it."""

    asked: Turn | None
    answers: list[Turn]


def compare(original: Told, replay: Told, stopped: StoppedEarly | None) -> dict[str, Any]:
    """Both calls as wholes, then each of the original caller's turns with the answers of both.

    `stopped`: why the replay's caller could not say everything.
    """
    asked, again = _exchanges(original.turns), _exchanges(replay.turns)
    return {
        "call_id": original.call.id,
        "replay_call_id": replay.call.id,
        "complete": stopped != "out_of_time",
        "stopped_early": stopped,
        "original": _whole(original, asked[0]),
        "replay": _whole(replay, again[0]),
        "turns": [_pair(*both) for both in zip_longest(asked[1:], again[1:])],
    }


def _exchanges(turns: Iterable[Turn]) -> list[_Exchange]:
    """The agent's turns after the caller's that they answer; what came before any is first."""
    found = [_Exchange(None, [])]
    for turn in turns:
        if turn.speaker == "caller":
            found.append(_Exchange(turn, []))
        else:
            _answered(found, turn).answers.append(turn)
    return found


def _answered(found: Sequence[_Exchange], answer: Turn) -> _Exchange:
    """What a turn is the answer to: who speaks on meanwhile is answered later."""
    named = (each for each in found if each.asked and each.asked.sequence == answer.answers)
    return next(named, found[-1])


def _pair(original: _Exchange, replay: _Exchange | None) -> dict[str, Any]:
    assert original.asked is not None
    return {
        "sequence": original.asked.sequence,
        "caller": original.asked.text,
        "original": _answer(original.answers),
        "replay": _answer(replay.answers) if replay else None,
    }


def _answer(turns: Sequence[Turn]) -> dict[str, Any] | None:
    if not turns:
        return None
    return {
        "text": spoken.joined(turn.text for turn in turns),
        "latency_ms": next((turn.latency_ms for turn in turns if turn.latency_ms), {}),
        "tokens": _tokens(turns),
        "actions": [action for turn in turns for action in turn.actions],
    }


def _whole(told: Told, opening: _Exchange) -> dict[str, Any]:
    call = told.call
    return {
        "ai_profile_id": call.ai_profile_id,
        "ai_profile_version": call.ai_profile_version,
        "greeting": spoken.joined(turn.text for turn in opening.answers) or None,
        "end_reason": call.end_reason,
        "tokens": _tokens(told.turns),
        "latency": latency.summary(turn.latency_ms for turn in told.turns),
    }


def _tokens(turns: Iterable[Turn]) -> Mapping[str, int]:
    """What the answers cost; without what the call's summary cost, which comes later."""
    spent = [turn.tokens for turn in turns]
    return {name: sum(each.get(name, 0) for each in spent) for name in ("input", "output")}
