"""The records of decisions, to which code and documentation refer by number."""

import re
from collections import Counter

from vca.settings import ROOT

RECORD = re.compile(r"^## (\d+)\. .*\n", re.MULTILINE)
PARAGRAPH = re.compile(r"^\*\*(\w+)\.\*\*", re.MULTILINE)
# Records that were withdrawn before a commit referred to them.
UNUSED_NUMBERS = {63}
LIST_OF_DEPENDENCIES = "10"


def test_numbers_of_decisions_follow_each_other() -> None:
    numbers = [int(number) for number in RECORD.findall((ROOT / "DECISIONS.md").read_text())]

    assert numbers == [n for n in range(1, max(numbers) + 1) if n not in UNUSED_NUMBERS]


def test_no_record_is_mixed_with_another() -> None:
    _, *parts = RECORD.split((ROOT / "DECISIONS.md").read_text())
    records = dict(zip(parts[::2], parts[1::2], strict=True))

    faults = [
        number
        for number, text in records.items()
        if (not (counts := Counter(PARAGRAPH.findall(text))) and number != LIST_OF_DEPENDENCIES)
        or counts["Context"] > 1
        or counts["Alternatives"] > 1
    ]

    assert faults == []
