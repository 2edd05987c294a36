"""Ordinary turns, which are full of numbers, are neither erased nor redacted."""

from itertools import cycle
from random import Random

from tests.support.ordinary_turns import HAND_WRITTEN, ordinary_turns
from vca.conversation.redaction import Redaction
from vca.tenant.privacy.data_subject import DataSubject

_SEED = 20_261_130
_TURN_COUNT = 20_000
# Among them countries with eight and seven digits, and numbers that look like dates and times.
_SUBJECTS = tuple(
    DataSubject(number)
    for number in (
        "+14155550123",
        "+442079460018",
        "+4520251130",
        "+85291234567",
        "+3545401234",
        "+9603001234",
        "+33612345678",
    )
)
_PREFIXES = ("415555", "207946", "540", "300", "20251", "612345")


def _turns() -> list[str]:
    turns = ordinary_turns(_TURN_COUNT, other_prefixes=_PREFIXES, rng=Random(_SEED))
    return [*turns, *HAND_WRITTEN]


def test_at_most_one_of_10_000_ordinary_turns_seems_to_have_the_number() -> None:
    turns = _turns()

    changed = [
        (subject, turn)
        for subject, turn in zip(cycle(_SUBJECTS), turns, strict=False)
        if subject.scrub(turn) != turn
    ]

    assert len(changed) <= len(turns) // 10_000, changed


def test_ordinary_turns_have_no_card_number() -> None:
    """Telephone numbers next to other digits can be as long as a card number, and an IBAN is."""
    redaction = Redaction(card_numbers=True)
    turns = [turn for turn in _turns()[:10_000] if "call" not in turn and "IBAN" not in turn]

    changed = [turn for turn in turns if redaction.redact_text(turn) != turn]

    assert len(turns) > 5_000
    assert changed == []
