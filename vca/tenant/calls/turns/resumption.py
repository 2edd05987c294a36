"""Decide the next action after a voice WebSocket has closed. Read-only and repeatable.

A WebSocket closes with its process, with a deployment, or because the call does something that
needs none. Any process can then continue from the stored turns.
"""

from dataclasses import dataclass

from vca.telephony.types import HangUp, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, state_machine
from vca.tenant.calls.core.call_types import CallRef, TurnResult
from vca.tenant.calls.turns import greeting, transfers, turn_handler


@dataclass(frozen=True)
class UnansweredUtterance:
    """The caller's last utterance, which has no reply. `after` is the number of turns before it."""

    utterance: str
    after: int


def find_next_action(ref: CallRef, *, repeat_last: bool) -> TurnResult | UnansweredUtterance:
    """Return the next action; see `call_flow.resume_call`."""
    with tenant_session(ref.tenant) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.status in state_machine.TERMINAL:
            return turn_handler.ended_call_result(session, ref)
        turns = record.list_turns(session, ref.call_id)
        transfer = transfers.pending_transfer(call_context)
    if transfer is not None:
        return TurnResult(ref, (transfer,), len(turns))
    if call_context.profile is None or not turns:
        return TurnResult(ref, (HangUp(),))
    last_turn = turns[-1]
    if last_turn.speaker == "caller":
        return UnansweredUtterance(last_turn.text, len(turns) - 1)
    # An empty Say tells another WebSocket which language and voice to use.
    say = Say(
        last_turn.text if repeat_last else "",
        call_context.profile["language"],
        call_context.profile["voice"],
    )
    return TurnResult(ref, (say, greeting.listen_action(call_context.profile)), len(turns))
