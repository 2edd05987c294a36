"""The state of one scripted conversation: answered questions, and the form that is filled in."""

import re
from dataclasses import dataclass
from typing import Literal

from vca.conversation.types import Role
from vca.devtools.scripted_model import english as en
from vca.devtools.scripted_model.scripts import NAME, SCRIPTS, Slot

_KEYS = re.compile(r"\(pressed .*\)")
_NO_UNDERSTANDING = "I am a scripted model and cannot answer that."


@dataclass(frozen=True)
class Facts:
    """What the script knows: the tools it may call, the transfer targets and the opening hours."""

    tools: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()
    hours: str | None = None

    @property
    def can_transfer(self) -> bool:
        """Whether callers can be connected with somebody."""
        return "transfer" in self.tools and bool(self.targets)


class Form:
    """The state of one conversation: the collected values and the current stage."""

    def __init__(self, role: Role, facts: Facts) -> None:
        script = SCRIPTS[role]
        takes_messages = "take_message" in facts.tools
        has_name = any(slot.key == NAME.key for slot in script.slots)
        self._slots = script.slots if has_name or not takes_messages else (*script.slots, NAME)
        self._closing = script.closing
        self._facts = facts
        self.values: dict[str, str] = {}
        self._notes: list[str] = []
        self._own_words: list[str] = []
        self._name_retried = False
        self._stage: Literal["asking", "confirming", "correcting", "open"] = "asking"
        self._choosing_target = False
        self._may_part = False
        self._last_message: tuple[str | None, str | None] | None = None
        self.reply = ""
        """The reply to the last line."""
        self.event: Literal["nothing", "confirmed", "parted", "transfer", "fallback"] = "nothing"
        """What the last line caused."""
        self.target: str | None = None
        """The target that the last line asked for."""
        self.message_due = False
        """Whether the last line completes a message that no earlier line has completed."""

    def process_line(self, line: str) -> None:
        """Process the caller's next line."""
        self.event, self.target, self.message_due = "nothing", None, False
        if en.is_goodbye(line):
            self.reply = self._goodbye()
        elif (answer := self._answer(line)) is not None:
            self.reply = answer
        else:
            self.reply = self._process_statement(line)
        self._complete_message()

    def _complete_message(self) -> None:
        message = (self.values.get(NAME.key), self.reason())
        if self.event in ("confirmed", "parted") and message[1] and message != self._last_message:
            self.message_due, self._last_message = True, message

    def reason(self) -> str | None:
        """Return the reason for the call in the caller's own words, or None."""
        return "; ".join(self._own_words) or None

    def call_summary(self) -> str:
        """Return a one-sentence summary of the call, empty if nothing is known."""
        summary = self._summary()
        return f"The caller was told this back: {summary}."[:500] if summary else ""

    def call_outcome(self) -> str:
        """Return the outcome of the call."""
        if not (self.values or self._notes):
            return "no_conversation"
        if self._stage != "open":
            return "unresolved"
        return "message_taken" if "take_message" in self._facts.tools else "resolved"

    # --- Questions that the script can answer ---

    def _answer(self, line: str) -> str | None:
        """Return the answer to a question or a wish, or None if the line is for the form."""
        was_choosing, self._choosing_target = self._choosing_target, False
        find_target = en.named_target if was_choosing else en.transfer_target
        if (target := find_target(line, self._facts.targets)) is not None:
            return self._transfer_to(target)
        if en.wants_human(line):
            return self._connect_with_human()
        if en.asks_to_connect(line):
            return self._offer_targets()
        if en.asks_hours(line):
            hours = self._facts.hours or "I do not know our opening hours."
            return self._and_go_on(hours)
        if en.asks_identity(line):
            return self._and_go_on(
                "I am VCA's scripted model. I follow a fixed script and understand only a few "
                f"sentences. {self._abilities()}"
            )
        if en.asks_help(line):
            return self._and_go_on(self._abilities())
        if _KEYS.fullmatch(line):
            return self._and_go_on("I have no menu for keys.")
        return self._answer_to_offer(line) if self._stage == "asking" else None

    def _transfer_to(self, target: str) -> str:
        if not self._facts.can_transfer:
            return self._and_go_on("I cannot connect calls.")
        self.event, self.target = "transfer", target
        return en.CONNECTING

    def _connect_with_human(self) -> str:
        if "fallback" not in self._facts.tools:
            return self._offer_targets()
        self.event = "fallback"
        return en.CONNECTING

    def _offer_targets(self) -> str:
        if not self._facts.can_transfer:
            return self._and_go_on("I cannot connect calls.")
        self._choosing_target = True
        choices = en.join_choices(self._facts.targets, "or")
        return f"I can connect you with {choices}. Whom would you like to speak to?"

    def _abilities(self) -> str:
        abilities = ["tell you our opening hours"] if self._facts.hours else []
        if self._facts.can_transfer:
            abilities.append(f"connect you with {en.join_choices(self._facts.targets, 'or')}")
        takes_messages = "take_message" in self._facts.tools
        abilities.append("take a message" if takes_messages else "note what you call about")
        return f"I can {en.join_choices(abilities, 'and')}."

    def _and_go_on(self, answer: str) -> str:
        """Return the answer, followed by what the caller was asked before."""
        self._may_part = True
        if self._stage == "asking":
            slot = self._next_empty_slot()
            pending = slot.question if slot and self.values else "What else can I do for you?"
        else:
            pending = {
                "confirming": "Is what I have repeated right?",
                "correcting": "What should I change?",
                "open": "Is there anything else?",
            }[self._stage]
        return f"{answer} {pending}"

    def _answer_to_offer(self, line: str) -> str | None:
        """Return the answer to a line that does not fill in the form: a yes, a no, a question."""
        is_request = en.is_request(line)
        if not self.values:
            slot = self._next_empty_slot()
            assert slot is not None
            has_name = en.split_introduction(line)[0] is not None
            if en.is_yes(line) or (en.wants_message(line) and not has_name):
                return f"Of course. {slot.question}"
            if en.is_no(line) and not en.correction(line):
                return self._goodbye() if self._may_part else "What can I do for you?"
        if en.is_question(line) and not is_request:
            abilities = "" if self.values else f" {self._abilities()}"
            return self._and_go_on(f"{_NO_UNDERSTANDING}{abilities}")
        return None

    # --- The form ---

    def _process_statement(self, line: str) -> str:
        return {
            "asking": self._handle_answer,
            "confirming": self._handle_confirmation,
            "correcting": self._handle_correction,
            "open": self._handle_addition,
        }[self._stage](line)

    def _handle_answer(self, line: str) -> str:
        slot = self._next_empty_slot()
        assert slot is not None
        # Callers introduce themselves in their first line; a later "this is Elm Street" is no name.
        name, remainder = (None, line) if self.values else en.split_introduction(line)
        if name:
            self.values[NAME.key] = name
        self._fill(slot, remainder)
        next_slot = self._next_empty_slot()
        question = next_slot.question if next_slot else self._ask_confirmation()
        return f"{self._echo(slot, name)} {question}".strip()

    def _fill(self, slot: Slot, line: str) -> None:
        if slot.key == NAME.key:
            self._fill_name(line)
        elif not en.is_greeting(line) and (words := en.strip_greeting(line)).strip():
            self.values[slot.key] = en.to_second_person(words)
            self._own_words.append(en.strip_line(words))

    def _fill_name(self, line: str) -> None:
        """Store the caller's name.

        An answer without a name is stored as a note once. If the second answer has no name either,
        that answer is used as the name.
        """
        name = en.extract_name(line)
        if name is None and self._name_retried:
            name = en.strip_line(line) or "caller"
        if name is not None:
            self.values[NAME.key] = name
            return
        self._name_retried = True
        self._note(line)

    def _note(self, line: str) -> None:
        self._notes.append(en.to_second_person(line))
        self._own_words.append(en.strip_line(line))

    def _echo(self, slot: Slot, name: str | None) -> str:
        hello = f"Hello, {name}." if name and slot.key != NAME.key else ""
        if slot.key in self.values:
            echo = slot.echo.format(**self.values)
        else:
            echo = f"I have noted this: {self._notes[-1]}." if slot.key == NAME.key else ""
        return f"{hello} {echo}".strip()

    def _next_empty_slot(self) -> Slot | None:
        return next((slot for slot in self._slots if slot.key not in self.values), None)

    def _ask_confirmation(self) -> str:
        self._stage = "confirming"
        return f"Let me repeat: {self._summary()}. Is that right?"

    def _handle_confirmation(self, line: str) -> str:
        if en.is_yes(line):
            self._stage = "open"
            self.event = "confirmed"
            return f"{self._closing} Is there anything else?"
        if not en.is_no(line):
            return self._handle_addition(line)
        correction = en.correction(line)
        if correction:
            return self._handle_correction(correction)
        self._stage = "correcting"
        return "Sorry. What should I change?"

    def _handle_correction(self, line: str) -> str:
        self.event = "confirmed"
        new_name, remainder = en.split_introduction(line)
        if new_name and NAME.key in self.values and not en.strip_line(remainder):
            self._stage = "open"
            self.values[NAME.key] = new_name
            change = f"I have changed the name to {new_name}."
        else:
            change = self._add_note(line, "changed it")
        return f"{change} {self._closing} Is there anything else?"

    def _handle_addition(self, line: str) -> str:
        if en.is_no(line) and not en.correction(line):
            return self._goodbye()
        if en.is_yes(line):
            return "Please go on."
        return f"{self._add_note(line, 'added this')} Is there anything else?"

    def _add_note(self, line: str, verb_phrase: str) -> str:
        self._stage = "open"
        self._note(line)
        return f"I have {verb_phrase}: {self._notes[-1]}."

    def _summary(self) -> str:
        slots = (slot for slot in self._slots if slot.key in self.values)
        parts = [slot.summary.format(**self.values) for slot in slots]
        return "; ".join([*parts, *(f"also: {note}" for note in self._notes)])

    def _goodbye(self) -> str:
        self.event = "parted"
        name = f", {self.values[NAME.key]}" if NAME.key in self.values else ""
        summary = self._summary()
        recap = f" I have noted: {summary}." if summary else ""
        return f"Thank you for calling{name}.{recap} Goodbye."
