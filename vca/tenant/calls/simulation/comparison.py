"""Compare two calls with the same utterances of the caller, turn by turn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from vca.conversation import speech_text
from vca.tenant.calls.core import latency
from vca.tenant.calls.core.models import Call, Turn

StoppedEarly = Literal["call_ended", "out_of_time", "out_of_tokens"]


@dataclass(frozen=True)
class CallTranscript:
    """A call with all its turns."""

    call: Call
    turns: Sequence[Turn]


@dataclass(frozen=True)
class _Exchange:
    """A turn of the caller with the agent's turns that answer it.

    None: before the first utterance.
    """

    caller_turn: Turn | None
    agent_turns: list[Turn]


def compare_calls(
    original: CallTranscript, replay: CallTranscript, stopped_early: StoppedEarly | None
) -> dict[str, Any]:
    """Return both calls' totals, then each original utterance with the replies of both.

    `stopped_early` is why the replay did not repeat all utterances.
    """
    original_exchanges, replay_exchanges = (
        _group_exchanges(original.turns),
        _group_exchanges(replay.turns),
    )
    return {
        "call_id": original.call.id,
        "replay_call_id": replay.call.id,
        "complete": stopped_early not in ("out_of_time", "out_of_tokens"),
        "stopped_early": stopped_early,
        "original": _summarise_call(original, original_exchanges[0]),
        "replay": _summarise_call(replay, replay_exchanges[0]),
        "turns": [
            _compare_exchange(*pair)
            for pair in zip_longest(original_exchanges[1:], replay_exchanges[1:])
        ],
    }


def _group_exchanges(turns: Iterable[Turn]) -> list[_Exchange]:
    """Group the agent's turns by the turn that they answer.

    Turns before any utterance come first.
    """
    exchanges = [_Exchange(None, [])]
    for turn in turns:
        if turn.speaker == "caller":
            exchanges.append(_Exchange(turn, []))
        else:
            _exchange_of(exchanges, turn).agent_turns.append(turn)
    return exchanges


def _exchange_of(exchanges: Sequence[_Exchange], answer: Turn) -> _Exchange:
    """Return the exchange that a turn answers. A caller who goes on speaking is answered later."""
    matching = (
        exchange
        for exchange in exchanges
        if exchange.caller_turn and exchange.caller_turn.sequence == answer.answers
    )
    return next(matching, exchanges[-1])


def _compare_exchange(original: _Exchange, replay: _Exchange | None) -> dict[str, Any]:
    assert original.caller_turn is not None
    return {
        "sequence": original.caller_turn.sequence,
        "caller": original.caller_turn.text,
        "original": _summarise_answer(original.agent_turns),
        "replay": _summarise_answer(replay.agent_turns) if replay else None,
    }


def _summarise_answer(turns: Sequence[Turn]) -> dict[str, Any] | None:
    if not turns:
        return None
    return {
        "text": speech_text.join_chunks(turn.text for turn in turns),
        "latency_ms": next((turn.latency_ms for turn in turns if turn.latency_ms), {}),
        "tokens": _sum_tokens(turns),
        "actions": [action for turn in turns for action in turn.actions],
        "refused_tools": [refused_tool for turn in turns for refused_tool in turn.refused_tools],
    }


def _summarise_call(transcript: CallTranscript, opening: _Exchange) -> dict[str, Any]:
    call = transcript.call
    return {
        "ai_profile_id": call.ai_profile_id,
        "ai_profile_version": call.ai_profile_version,
        "greeting": speech_text.join_chunks(turn.text for turn in opening.agent_turns) or None,
        "end_reason": call.end_reason,
        "tokens": _sum_tokens(transcript.turns),
        "latency": latency.summarise_latency(turn.latency_ms for turn in transcript.turns),
    }


def _sum_tokens(turns: Iterable[Turn]) -> Mapping[str, int]:
    """Return the tokens of the replies, without those of the post-call analysis."""
    token_counts = [turn.tokens for turn in turns]
    return {
        name: sum(counts.get(name, 0) for counts in token_counts) for name in ("input", "output")
    }
