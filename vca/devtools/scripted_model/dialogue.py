"""The state of one scripted conversation: the answers of the caller, and the latest reply."""

import re
from dataclasses import dataclass
from typing import Literal

from vca.conversation.types import Role
from vca.devtools.scripted_model import english as en
from vca.devtools.scripted_model.scripts import NAME_QUESTION, SCRIPTS

_KEYS = re.compile(r"\(pressed .*\)")
_CONNECTING = "One moment, I am connecting you."
_IDENTITY = "I am VCA's scripted model and understand only a few sentences."
_ANYTHING_ELSE = "Is there anything else?"


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

    @property
    def takes_messages(self) -> bool:
        """Whether a message can be taken."""
        return "take_message" in self.tools


class Dialogue:
    """The state of one conversation; after each line, `reply` and what the line caused."""

    def __init__(self, role: Role, facts: Facts) -> None:
        questions = SCRIPTS[role].questions
        if facts.takes_messages and NAME_QUESTION not in questions:
            questions = (*questions, NAME_QUESTION)
        self._questions, self._closing, self._facts = questions, SCRIPTS[role].closing, facts
        self._answers: dict[str, str] = {}
        self._additions: list[str] = []
        self._choosing_target = self._has_answered = False
        self._taken_message: str | None = None
        self.reply = ""
        self.event: Literal["transfer", "fallback", "completed", "parted"] | None = None
        self.target: str | None = None
        """The target that the last line asked for."""
        self.message_due = False
        """Whether the last line completes a message that no earlier line has completed."""

    @property
    def name(self) -> str | None:
        """The caller's name, if it is known."""
        return self._answers.get(NAME_QUESTION)

    @property
    def reason(self) -> str:
        """What the caller said besides the name."""
        answers = [text for question, text in self._answers.items() if question != NAME_QUESTION]
        return "; ".join([*answers, *self._additions])

    def process_line(self, line: str) -> None:
        """Process the caller's next line."""
        self.event, self.target = None, None
        if en.is_goodbye(line):
            self.reply = self._part()
        else:
            self.reply = self._connect(line) or self._answer(line) or self._record(line)
        self._complete_message()

    def _complete_message(self) -> None:
        ends_message = self.event in ("completed", "parted") and bool(self.reason)
        self.message_due = ends_message and self.reason != self._taken_message
        if self.message_due:
            self._taken_message = self.reason

    def _connect(self, line: str) -> str | None:
        """Return the reply to a wish to be connected with somebody, or None."""
        was_choosing, self._choosing_target = self._choosing_target, False
        if was_choosing or en.wants_connection(line):
            self.target = en.named_target(line, self._facts.targets)
        wants_human = en.wants_human(line)
        if not (self.target or wants_human or en.asks_for_targets(line)):
            return None
        if self.target is None and wants_human and "fallback" in self._facts.tools:
            self.event = "fallback"
        elif not self._facts.can_transfer:
            return self._continue_after("I cannot connect calls.")
        elif self.target is None:
            self._choosing_target = True
            choices = en.join_choices(self._facts.targets, "or")
            return f"I can connect you with {choices}. Whom would you like to speak to?"
        else:
            self.event = "transfer"
        return _CONNECTING

    def _answer(self, line: str) -> str | None:
        """Return the answer to a question, or None if the line is none."""
        if en.asks_hours(line):
            return self._continue_after(self._facts.hours or "I do not know our opening hours.")
        if _KEYS.fullmatch(line):
            return self._continue_after("I have no menu for keys.")
        if en.is_question(line) and not en.wants_message(line):
            return self._continue_after(f"{_IDENTITY} {self._abilities()}")
        return None

    def _abilities(self) -> str:
        abilities = ["tell you our opening hours"] if self._facts.hours else []
        if self._facts.can_transfer:
            abilities.append(f"connect you with {en.join_choices(self._facts.targets, 'or')}")
        takes_messages = self._facts.takes_messages
        abilities.append("take a message" if takes_messages else "note what you call about")
        return f"I can {en.join_choices(abilities, 'and')}."

    def _continue_after(self, answer: str) -> str:
        """Return the answer, followed by what the caller was asked before."""
        self._has_answered = True
        pending = self._next_question() or _ANYTHING_ELSE
        return f"{answer} {pending if self._answers else 'What else can I do for you?'}"

    def _record(self, line: str) -> str:
        """Record what the caller states; return the reply."""
        question = self._next_question()
        if question is None:
            return self._record_addition(line)
        if not self._answers:
            if en.is_yes(line) or en.wants_message(line):
                return f"Of course. {question}"
            if en.is_no(line) and self._has_answered:
                return self._part()
        if en.is_greeting(line):
            return question
        if question == NAME_QUESTION:
            self._answers[question] = en.extract_name(line) or "caller"
            reply = f"Thank you, {self.name}."
        else:
            self._answers[question] = en.strip_line(line) or "…"
            reply = "I see."
        next_question = self._next_question()
        if next_question is None:
            self.event = "completed"
            next_question = f"I have noted: {self.reason}. {self._closing} {_ANYTHING_ELSE}"
        return f"{reply} {next_question}"

    def _record_addition(self, line: str) -> str:
        if en.is_no(line):
            return self._part()
        if en.is_yes(line) or en.is_greeting(line):
            return "Please go on."
        self._additions.append(en.strip_line(line))
        return f"I have added that. {_ANYTHING_ELSE}"

    def _next_question(self) -> str | None:
        return next((text for text in self._questions if text not in self._answers), None)

    def _part(self) -> str:
        self.event = "parted"
        name = f", {self.name}" if self.name else ""
        recap = f" I have noted: {self.reason}." if self.reason else ""
        return f"Thank you for calling{name}.{recap} Goodbye."
