"""README's table of what each carrier can do is what the adapters say of themselves."""

from dataclasses import fields
from importlib import import_module

from tests.support.ast_index import ROOT
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers import ADAPTERS
from vca.telephony.types import Capabilities

# What a capability is called in README, by the field's name.
TITLES = {
    "transfer": "transfers a caller, who comes back when nobody answers",
    "recording": "records calls",
    "voicemail": "takes messages",
    "outbound": "places calls",
    "send_keys": "presses keys",
    "relay": "speaks through a socket, clause by clause",
    "webrtc": "lets browsers call",
}


def _adapter(path: str) -> type[TelephonyAdapter]:
    module, _, name = path.partition(":")
    found: type[TelephonyAdapter] = getattr(import_module(module), name)
    return found


def table() -> str:
    """The table as README has to have it."""
    carriers = {name: _adapter(path).capabilities for name, path in ADAPTERS.items()}
    lines = [f"| | {' | '.join(carriers)} |", f"| --- |{' :-: |' * len(carriers)}"]
    for field in fields(Capabilities):
        marks = ["yes" if getattr(can, field.name) else "–" for can in carriers.values()]
        lines.append(f"| {TITLES[field.name]} | {' | '.join(marks)} |")
    return "\n".join(lines)


def test_the_table_of_carriers_is_current() -> None:
    assert table() in (ROOT / "README.md").read_text()
