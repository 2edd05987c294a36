"""A call's conversation over its socket: what the caller says, the agent's words as they come.

No transaction is open while anybody speaks. The frames that come while the agent thinks are looked
at between two of its clauses: who breaks in is heard, and the rest of the answer is not asked for.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic

from vca.conversation import spoken
from vca.kit import deadline, log
from vca.kit.errors import DomainError
from vca.registry.tenants import service as tenants
from vca.serve.relay import draining
from vca.serve.relay.frames import Failure, Frame, Interrupt, Key, Prompt
from vca.serve.relay.holding import Lease
from vca.serve.relay.line import Line
from vca.telephony.types import Listen, Say
from vca.tenant.calls import fallback, flow, relays
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.refs import Clause, Outcome
from vca.tenant.calls.relays import Admitted

# No carrier tells when it has spoken to the end; voices say some fourteen characters a second. A
# silence is counted from then on, and nobody is hung up on while he is being told goodbye.
CHARACTERS_A_SECOND = 14.0
# Keys that follow each other closely are one number.
BETWEEN_KEYS_S = 2.0
TURN_S = 20.0
# How soon a process that is to end is noticed where nobody speaks.
_LOOK_EVERY_S = 1.0
_SENTENCE = next(action.text for action in fallback.SENTENCE if isinstance(action, Say))


@dataclass(frozen=True)
class Said:
    """What the caller said or pressed; nothing of both is a silence."""

    text: str = ""
    keys: str = ""


class Conversation:
    """One socket's. `hold` is all of it."""

    def __init__(self, line: Line, admitted: Admitted, lease: Lease, desk: Desk) -> None:
        self._line = line
        self._ref = admitted.ref
        self._lease = lease
        self._desk = desk
        self._has_failed = False
        self._silence_s = admitted.silence_s
        self._spoken_at = monotonic() + admitted.greeting / CHARACTERS_A_SECOND

    def hold(self) -> None:
        """Talk until the call goes on without the socket. Raises ConnectionClosed.

        Whatever fails ends in a sentence, and in the carrier's asking what follows.
        """
        handoff = None
        try:
            handoff = self._talk()
        except DomainError as error:  # the database is away, the tenant upgraded, the call erased
            log.get().error("relay.turn_failed", exc_info=error)
        finally:
            if handoff is None:
                self._apologise()
                handoff = relays.FAILED
            self._line.end(handoff)

    def _talk(self) -> str:
        """Turn after turn; with what word the socket shall end."""
        said: Said | None = None
        while True:
            heard = said or self._listen()
            if isinstance(heard, str):
                return heard
            answered = self._answer(heard)
            said = answered if isinstance(answered, Said) else None
            if isinstance(answered, Outcome) and not self._goes_on(answered):
                self._finish()
                return relays.DONE

    def _goes_on(self, outcome: Outcome) -> bool:
        """Whether the agent listens now; how long for is the outcome's to say."""
        last = outcome.actions[-1]
        if isinstance(last, Listen):
            self._silence_s = last.silence_s
        return isinstance(last, Listen)

    def _listen(self) -> Said | str:
        """What the caller says, a silence included; or the word with which the socket ends."""
        keys = ""
        ends_at = max(self._spoken_at, monotonic()) + self._silence_s
        while True:
            if self._has_failed:
                return relays.DONE
            if self._is_to_end(keys):
                return relays.RESUME
            match self._next(min(_LOOK_EVERY_S, ends_at - monotonic())):
                case Prompt(text, last=True):
                    return Said(text)
                case Prompt():
                    ends_at = max(ends_at, monotonic() + self._silence_s)
                case Key(key):
                    keys, ends_at = keys + key, monotonic() + BETWEEN_KEYS_S
                case Interrupt(heard):
                    self._cut_off(heard)
                    ends_at = monotonic() + self._silence_s
                case None if monotonic() >= ends_at:
                    return Said(keys=keys)

    def _is_to_end(self, keys: str) -> bool:
        """At once where nobody speaks; a process that has to end does not wait for ever."""
        if not draining.asked():
            return False
        return draining.presses() or (not keys and monotonic() >= self._spoken_at)

    def _answer(self, said: Said) -> Outcome | Said | None:
        """Speak the agent's answer. None or what the caller said: he broke in, and it was cut."""
        with deadline.within(TURN_S):
            tenants.require_supported(self._ref.tenant.id)
            with closing(self._turn(said)) as speech:
                found = self._speak(speech)
            if isinstance(found, _Cut):
                return self._cut(found)
        more = [action.text for action in found.actions if isinstance(action, Say)]
        for text in more:
            self._say(text)
        self._line.say("", last=True)
        return found

    def _turn(self, said: Said) -> Generator[Clause, None, Outcome]:
        models = self._desk.models
        if said.keys:
            return flow.dtmf(self._ref, keys=said.keys, models=models)
        return flow.turn(self._ref, heard=said.text, models=models)

    def _speak(self, speech: Generator[Clause, None, Outcome]) -> "Outcome | _Cut":
        """Say each clause as it comes, until all is said or the caller breaks in."""
        told: list[str] = []
        self._spoken_at = monotonic()  # who speaks hears no more of what was said before
        while True:
            try:
                clause = next(speech)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            frame = self._broken_in(bool(told))
            if frame is not None:
                return _Cut(frame, tuple(told))
            self._say(clause.text)
            told.append(clause.text)

    def _broken_in(self, speaks: bool) -> Frame | None:
        """A frame by which the caller breaks in: words, or a stop to words that were being said."""
        while True:
            match self._next(0.0):
                case None:
                    return None
                case Prompt(last=True) as frame:
                    return frame
                case Interrupt() as frame if speaks:
                    return frame

    def _cut(self, cut: "_Cut") -> Said | None:
        """Note what was heard of an answer that was cut off."""
        if cut.told:
            self._line.say("", last=True)
        if isinstance(cut.by, Interrupt):
            self._cut_off(cut.by.heard)
            return None
        assert isinstance(cut.by, Prompt)
        self._cut_off(spoken.joined(cut.told))
        return Said(cut.by.text)

    def _cut_off(self, heard: str) -> None:
        self._spoken_at = monotonic()
        with deadline.within(TURN_S):
            flow.interrupted(self._ref, heard=heard)

    def _finish(self) -> None:
        """Let the caller hear the last words to their end, or until he has had enough."""
        while (left_s := self._spoken_at - monotonic()) > 0:
            if isinstance(self._next(left_s), Interrupt):
                return

    def _apologise(self) -> None:
        self._say(_SENTENCE)
        self._line.say("", last=True)
        self._finish()

    def _say(self, text: str) -> None:
        self._line.say(f"{text} ")
        self._spoken_at += len(text) / CHARACTERS_A_SECOND

    def _next(self, within_s: float) -> Frame | None:
        """The next frame. Of what fails at the carrier it is only noted that it does."""
        self._lease.renew()
        frame = self._line.hear(max(0.0, within_s))
        if isinstance(frame, Failure):
            self._has_failed = True
            log.get().warning("relay.carrier_failed", description=frame.description[:200])
        return frame


@dataclass(frozen=True)
class _Cut:
    """An answer that was cut off by a frame, after so many clauses."""

    by: Frame
    told: tuple[str, ...]
