"""The questions of the scripted model, by role."""

from dataclasses import dataclass

from vca.conversation.types import Role

NAME_QUESTION = "May I have your name, please?"


@dataclass(frozen=True)
class Script:
    """The questions of a role, in order; `closing` follows the answer to the last one.

    The greeting asks the first question, in its own words.
    """

    questions: tuple[str, ...]
    closing: str


SCRIPTS: dict[Role, Script] = {
    "receptionist": Script(
        ("What is your call about?", NAME_QUESTION),
        "I will pass that on, and somebody will call you back.",
    ),
    "sales": Script(
        (
            "What are you looking for?",
            "For how many people or pieces is it?",
            "And what budget do you have in mind?",
        ),
        "A colleague will send you an offer.",
    ),
    "support": Script(
        ("What is the problem?", "What have you tried so far?"),
        "Please switch it off and on once more. If that fails, somebody will call you back.",
    ),
    "dispatcher": Script(
        (
            "What has happened?",
            "What is the exact address?",
            "How urgent is it, and is anybody in danger?",
        ),
        "I have passed your report on. If anybody is in danger, ring the emergency number.",
    ),
    "custom": Script(
        ("What can I do for you?", "Is there anything I should know about it?"),
        "I have noted it.",
    ),
}
