"""The questions and texts of the scripted model, by role."""

from dataclasses import dataclass

from vca.conversation.types import Role


@dataclass(frozen=True)
class Slot:
    """One value to ask for: the question, and the texts that repeat it alone and in a summary."""

    key: str
    question: str
    echo: str
    summary: str


@dataclass(frozen=True)
class Script:
    """The questions of a role, in order; `closing` follows the caller's confirmation.

    The first slot is asked by the greeting.
    """

    slots: tuple[Slot, ...]
    closing: str


NAME = Slot("name", "May I have your name, please?", "Thank you, {name}.", "your name is {name}")

SCRIPTS: dict[Role, Script] = {
    "receptionist": Script(
        slots=(
            Slot(
                "reason",
                "What is your call about?",
                "I see: {reason}.",
                "your call is about this: {reason}",
            ),
            NAME,
        ),
        closing="I will pass that on, and somebody will call you back.",
    ),
    "sales": Script(
        slots=(
            Slot(
                "need",
                "What are you looking for?",
                "I see: {need}.",
                "you are looking for this: {need}",
            ),
            Slot(
                "size",
                "For how many people or pieces is it?",
                "Noted: {size}.",
                "the size is {size}",
            ),
            Slot(
                "budget",
                "And what budget do you have in mind?",
                "Noted: {budget}.",
                "the budget is {budget}",
            ),
        ),
        closing="A colleague will send you an offer.",
    ),
    "support": Script(
        slots=(
            Slot(
                "problem",
                "What is the problem?",
                "I understand: {problem}.",
                "the problem is: {problem}",
            ),
            Slot(
                "tried",
                "What have you tried so far?",
                "Good to know: {tried}.",
                "what you tried is: {tried}",
            ),
        ),
        closing="Please switch it off and on once more. If that fails, somebody will call "
        "you back.",
    ),
    "dispatcher": Script(
        slots=(
            Slot(
                "incident",
                "What has happened?",
                "I understand: {incident}.",
                "what has happened is: {incident}",
            ),
            Slot(
                "address",
                "What is the exact address?",
                "The address is {address}.",
                "the address is {address}",
            ),
            Slot(
                "urgency",
                "How urgent is it, and is anybody in danger?",
                "Noted: {urgency}.",
                "on the urgency you say: {urgency}",
            ),
        ),
        closing="I have passed your report on. If anybody is in danger, ring the emergency number.",
    ),
    "custom": Script(
        slots=(
            Slot(
                "request", "What can I do for you?", "I see: {request}.", "you told me: {request}"
            ),
            Slot(
                "details",
                "Is there anything I should know about it?",
                "Noted: {details}.",
                "and: {details}",
            ),
        ),
        closing="I have noted it.",
    ),
}
