"""One turn of a call: what the caller said, what the agent says to it, and what it does then."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.conversation import engine, redaction, spoken
from vca.conversation import types as said
from vca.conversation.llm import ModelError
from vca.conversation.llm.models import Models
from vca.conversation.redaction import Redaction
from vca.conversation.types import Reply
from vca.kit import clock, crash, log, metrics
from vca.telephony.types import Action, CallEvent, Forward, HangUp, Say
from vca.tenancy.session import enter
from vca.tenant.calls import desk, greeting, legs, profiles, record, states, transfers
from vca.tenant.calls.legs import DiallingRefused
from vca.tenant.calls.models import Line
from vca.tenant.calls.refs import CallRef, Clause, Outcome
from vca.tenant.messages import service as messages

Spoken = Generator[Clause, None, Outcome]


@dataclass(frozen=True)
class _Asked:
    """A caller's turn that waits for an answer: the call, what was said before, and when."""

    ref: CallRef
    talk: Row[Any]
    before: Sequence[Line]
    heard: str
    began: datetime
    answers: int | None  # the sequence of the caller's turn; None: nothing was heard

    @property
    def redaction(self) -> Redaction:
        return redaction.of(self.talk.profile.get("redaction"))

    def clause(self, text: str) -> Clause:
        return Clause(text, self.talk.profile["language"], self.talk.profile["voice"])


def turn(ref: CallRef, *, heard: str, models: Models, after: int | None) -> Spoken:
    """See `flow.turn`."""
    asked_at = monotonic()
    with enter(ref.tenant) as session:
        asked = _hear(session, ref, heard, after)
    database_s = monotonic() - asked_at
    crash.point("calls.turn.heard")
    if isinstance(asked, Outcome):
        return asked
    if isinstance(asked, _Known):
        yield from asked.clauses
        return asked.outcome
    clauses: list[str] = []
    try:
        with closing(_conversation(asked, models)) as speech:
            reply = yield from _voiced(asked, speech, clauses)
    except ModelError as error:
        return (yield from _failed(asked, error, clauses))
    except GeneratorExit:
        if clauses:
            _keep(asked, Reply(spoken.joined(clauses)))
        raise
    reply = replace(reply, latency_ms=_measured(asked, reply, database_s))
    return _keep(asked, reply)


@dataclass(frozen=True)
class _Known:
    """An answer that was given before: the carrier did not get it, or comes back for the rest."""

    clauses: tuple[Clause, ...]
    outcome: Outcome


def _hear(
    session: Session, ref: CallRef, heard: str, after: int | None
) -> "_Asked | _Known | Outcome":
    """Write the caller's turn, unless it is known; what is to be answered, or what was."""
    began = clock.now()
    talk = record.talk(session, ref.call_id)
    turns = record.lines(session, ref.call_id)
    kept = redaction.of((talk.profile or {}).get("redaction")).text(heard)
    known = _known(turns, kept, after)
    if (answer := _answer_among(known)) is not None:
        return _repeated(session, ref, talk, answer, len(turns))
    if talk.status in states.TERMINAL or talk.profile is None:
        return Outcome(ref, (HangUp(),))
    if known:  # another process has written it down, and did not come to answer it
        before = turns[: known[0].sequence - 1]
        return _Asked(ref, talk, before, known[0].text, began, known[0].sequence)
    if not heard.strip():
        return _Asked(ref, talk, turns, heard, began, None)
    sequence = len(turns) + 1
    record.insert_turn(
        session, ref.call_id, sequence=sequence, speaker="caller", text=kept, at=began
    )
    return _Asked(ref, talk, turns, heard, began, sequence)


def _known(turns: Sequence[Line], kept: str, after: int | None) -> Sequence[Line]:
    """What has been written since the carrier was answered, from these words on if they are there.

    The words as they are kept. Where nothing was heard, all of it.
    """
    since = turns[after:] if after is not None else ()
    if not kept.strip():
        return since
    said = [each.speaker == "caller" and each.text == kept for each in since]
    return since[said.index(True) :] if True in said else ()


def _answer_among(since: Sequence[Line]) -> Line | None:
    """The agent's answer to the first of these turns; the first itself where nothing was heard."""
    if not since or since[0].speaker == "agent":
        return since[0] if since else None
    return next((each for each in since if each.answers == since[0].sequence), None)


def find_answer(ref: CallRef, *, after: int) -> "tuple[tuple[Clause, ...], Outcome] | None":
    """The answer to the turn that began after so many, once it is written. Raises NotFound.

    To one that began before the call ended, and was not answered by then, there is none to come.
    """
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        since = record.lines(session, ref.call_id, after=after)
        answer = _answer_among(since)
        if answer is None:
            return ((), over(session, ref)) if talk.status in states.TERMINAL else None
        known = _repeated(session, ref, talk, answer, after + len(since))
    return known.clauses, known.outcome


def _repeated(session: Session, ref: CallRef, talk: Row[Any], answer: Line, turns: int) -> _Known:
    profile = talk.profile
    clause = Clause(answer.text, profile["language"], profile["voice"])
    if talk.status in states.TERMINAL:
        return _Known((clause,), over(session, ref))
    following = transfers.pending(talk) or greeting.listen(profile)
    return _Known((clause,), Outcome(ref, (following,), turns))


def over(session: Session, ref: CallRef) -> Outcome:
    """What follows in a call that has ended; its caller may still be on the way to a fallback."""
    number = legs.forwarded_to(session, call_id=ref.call_id)
    return Outcome(ref, (HangUp() if number is None else Forward(number),))


def _conversation(asked: _Asked, models: Models) -> Generator[str, None, Reply]:
    talk = asked.talk
    before = profiles.transcript_of(asked.before)
    return engine.converse(
        profiles.conversational(talk.profile),
        before,
        asked.heard,
        models=models,
        facts=profiles.facts_of(talk, at=asked.began),
        now=asked.began.astimezone(ZoneInfo(talk.time_zone)),
        limits=desk.current().limits,
    )


def _voiced(
    asked: _Asked, speech: Generator[str, None, Reply], clauses: list[str]
) -> Generator[Clause, None, Reply]:
    """Hand each clause on, and remember it."""
    while True:
        try:
            text = next(speech)
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        clauses.append(text)
        yield asked.clause(text)


def _failed(asked: _Asked, error: ModelError, clauses: list[str]) -> Spoken:
    """No model answered: the tenant's sentence, and the number that is there for this."""
    metrics.MODEL_FAILURES_TOTAL.inc(failure=error.failure)
    log.get().error("call.model_failed", call_id=str(asked.ref.call_id), **error.log_fields)
    sentence = record.sentence(asked.talk.sentences, "fallback")
    yield asked.clause(sentence)
    reply = Reply(spoken.joined([*clauses, sentence]), (said.HangUp("model_error"),))
    return _keep(asked, reply, to_fallback=True)


def _measured(asked: _Asked, reply: Reply, database_s: float) -> dict[str, int]:
    """Milliseconds by stage: what the model took, reading and writing before it, and all of it."""
    total_s = (clock.now() - asked.began).total_seconds()
    stages = {"database": round(database_s * 1000), "total": round(total_s * 1000)}
    found = {**reply.latency_ms, **stages}
    for stage, took_ms in found.items():
        metrics.TURN_SECONDS.observe(took_ms / 1000, stage=stage)
    return found


def _keep(asked: _Asked, reply: Reply, *, to_fallback: bool = False) -> Outcome:
    """Write the agent's turn and do what it does, unless another process has answered meanwhile."""
    ref, now = asked.ref, clock.now()
    crash.point("calls.turn.answered")
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        since = record.lines(session, ref.call_id, after=len(asked.before))
        turns = len(asked.before) + len(since)
        if reply.tokens.total:  # they were spent, whatever becomes of the words
            record.spend(session, ref.call_id, reply.tokens)
        given = [each for each in since if asked.answers and each.answers == asked.answers]
        if given:
            return _repeated(session, ref, talk, given[0], turns).outcome
        if talk.status in states.TERMINAL:
            return Outcome(ref, (HangUp(),))
        _write(session, asked, reply, sequence=turns + 1, at=now)
        actions = _act(session, asked, talk, reply, now=now, to_fallback=to_fallback)
    crash.point("calls.turn.committed")
    # A transfer that was refused at once is one more turn: the agent says so.
    return Outcome(ref, actions, turns + 1 + isinstance(actions[0], Say))


def _write(session: Session, asked: _Asked, reply: Reply, *, sequence: int, at: datetime) -> None:
    tokens: Mapping[str, Any] = {}
    if reply.tokens.total:
        tokens = {"input": reply.tokens.input, "output": reply.tokens.output}
    record.insert_turn(
        session,
        asked.ref.call_id,
        sequence=sequence,
        speaker="agent",
        text=asked.redaction.text(reply.text),
        at=at,
        latency_ms=reply.latency_ms,
        answers=asked.answers,
        actions=[asked.redaction.value(asdict(action)) for action in reply.actions],
        tokens=tokens,
    )


def _act(
    session: Session,
    asked: _Asked,
    talk: Row[Any],
    reply: Reply,
    *,
    now: datetime,
    to_fallback: bool,
) -> tuple[Action, ...]:
    """Do what the agent decided: messages first, then the one thing that the line does."""
    ref = asked.ref
    for action in reply.actions:
        match action:
            case said.TakeMessage() if not _is_replay(talk):
                left = asked.redaction.value(asdict(action))
                messages.take(
                    session,
                    call_id=ref.call_id,
                    kind="message",
                    caller_number=talk.caller_number,
                    callback_number=left["number"],
                    name=left["name"],
                    reason=left["reason"],
                    simulated=talk.simulated,
                )
            case said.Transfer():
                return _transferred(session, ref, talk, action.target, now=now)
            case said.ToFallback():
                return _to_fallback(session, ref, talk, now=now, otherwise="agent_hangup")
            case said.HangUp():
                if to_fallback:
                    return _to_fallback(session, ref, talk, now=now, otherwise=action.end_reason)
                return _ended(session, ref, action.end_reason, now=now)
    return (greeting.listen(talk.profile),)


def _is_replay(talk: Row[Any]) -> bool:
    """Its caller has left the message already. An outbound call's metadata may say anything."""
    return talk.simulated and "replay_of" in talk.call_metadata


def _transferred(
    session: Session, ref: CallRef, talk: Row[Any], target: str, *, now: datetime
) -> tuple[Action, ...]:
    try:
        return (transfers.start(session, ref, talk, target=target, now=now),)
    except DiallingRefused:
        return transfers.not_connected(session, ref, talk, now=now)


def _to_fallback(
    session: Session, ref: CallRef, talk: Row[Any], *, now: datetime, otherwise: str
) -> tuple[Action, ...]:
    """Send the caller to the number's fallback; without one that may be dialled, goodbye."""
    number = talk.fallback_number
    if number is None:
        return _ended(session, ref, otherwise, now=now)
    if not talk.simulated:
        from_number = transfers.own_number(talk)
        try:
            legs.check(
                session, number, kind="forward", call_id=ref.call_id, from_number=from_number
            )
        except DiallingRefused:
            return _ended(session, ref, otherwise, now=now)
    reason = otherwise if otherwise == "model_error" else "transferred"
    _ended(session, ref, reason, now=now)
    return (Forward(number),)


def _ended(session: Session, ref: CallRef, end_reason: str, *, now: datetime) -> tuple[Action, ...]:
    event = CallEvent("ENDED", ref.call_id.hex, now, "agent", end_reason=end_reason)
    record.happened(session, ref.call_id, event)
    return (HangUp(),)
