"""The contract suite of carriers' adapters.

A subclass of `TelephonyContract` provides three adapters and acts as the carrier, through the
fixtures and methods of `base.ContractBase`.
"""

from tests.contract.suites.telephony.accounts import AccountTests
from tests.contract.suites.telephony.calls import CallTests
from tests.contract.suites.telephony.languages import LanguageTests
from tests.contract.suites.telephony.numbers import NumberTests
from tests.contract.suites.telephony.recordings import RecordingTests
from tests.contract.suites.telephony.requests import RequestTests
from tests.contract.suites.telephony.responses import ResponseTests
from tests.contract.suites.telephony.values import (
    ACME,
    CALLBACK,
    CALLER,
    GLOBEX,
    NUMBER,
    ODD_TEXTS,
    RECORDING,
    STATE,
    UNREAD_FIELDS,
    UNREAD_MEMBERS,
    CallState,
    Fault,
    RenderedReply,
    inbound_metadata,
    new_call_id,
    outbound_call,
)

__all__ = [
    "ACME",
    "CALLBACK",
    "CALLER",
    "GLOBEX",
    "NUMBER",
    "ODD_TEXTS",
    "RECORDING",
    "STATE",
    "UNREAD_FIELDS",
    "UNREAD_MEMBERS",
    "CallState",
    "Fault",
    "RenderedReply",
    "TelephonyContract",
    "inbound_metadata",
    "new_call_id",
    "outbound_call",
]


class TelephonyContract(
    RecordingTests,
    CallTests,
    ResponseTests,
    LanguageTests,
    RequestTests,
    NumberTests,
    AccountTests,
):
    """Subclass it and provide the fixtures and methods of `ContractBase`."""
