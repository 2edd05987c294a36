"""What follows in a call whose socket has ended: found from the record, the same however often.

A socket ends with its process, with a deploy, or because the call does something that is not said
through it. Whatever process is asked then goes on from what was written.
"""

from dataclasses import dataclass

from vca.telephony.types import HangUp, Say
from vca.tenancy.session import enter
from vca.tenant.calls import greeting, record, states, talking, transfers
from vca.tenant.calls.refs import CallRef, Outcome


@dataclass(frozen=True)
class Unanswered:
    """What the caller has said last, which nobody has answered; `after` so many turns."""

    heard: str
    after: int


def resume(ref: CallRef, *, again: bool) -> Outcome | Unanswered:
    """See `flow.resumed`."""
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.status in states.TERMINAL:
            return talking.over(session, ref)
        turns = record.lines(session, ref.call_id)
        transfer = transfers.pending(talk)
    if transfer is not None:
        return Outcome(ref, (transfer,), len(turns))
    if talk.profile is None or not turns:
        return Outcome(ref, (HangUp(),))
    last = turns[-1]
    if last.speaker == "caller":
        return Unanswered(last.text, len(turns) - 1)
    # Where there is nothing to say, another socket still has to know in which voice it speaks.
    say = Say(last.text if again else "", talk.profile["language"], talk.profile["voice"])
    return Outcome(ref, (say, greeting.listen(talk.profile)), len(turns))
