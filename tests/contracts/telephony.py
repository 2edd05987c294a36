"""What every carrier's adapter does, in the order of the words of `vca.telephony.adapter`.

A subclass gives the three adapters and the hooks below them: the other end of the line.
"""

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from time import monotonic
from typing import Any, ClassVar, Literal, get_args
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vca.kit.json import is_storable
from vca.kit.phone import is_e164
from vca.kit.text import sanitize
from vca.settings import Settings
from vca.telephony.adapter import (
    InvalidCarrierRequest,
    InvalidCarrierSignature,
    TelephonyAdapter,
    TelephonyError,
    limit_size,
)
from vca.telephony.providers import ADAPTERS
from vca.telephony.types import (
    Account,
    Action,
    Caller,
    CallEvent,
    CallMetadata,
    CallReply,
    CallStatus,
    Capabilities,
    CarrierEvent,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    Forward,
    HangUp,
    LegOutcome,
    Listen,
    OutboundCall,
    Poll,
    Record,
    Recording,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

Fault = Literal["refuses", "fails", "is silent"]
Living = Literal["live", "over"]

ACME, GLOBEX = UUID(int=0xACE), UUID(int=0x61)
NUMBER, CALLER = "+14155550100", "+14155550123"
CALLBACK = "https://voice.example.com/vca/telephony/carrier/"
STATE = "WyJhIiwiYiJd.c2lnbmF0dXJl_-of=ours"
RECORDING = f"RE{17:032x}"
LONGEST_WAIT_S = 10
NO_NUMBER = {
    "anonymous": "withheld",
    "Anonymous": "withheld",
    "+266696687": "withheld",
    "unknown": "unavailable",
    "": "unavailable",
    "110": "other",
    "sip:reception@pbx.example.com": "other",
    "☎": "other",
}
ODD_TEXTS = (
    "<Hangup/> & \"quoted\" 'text' ]]> <!-- -->",
    '","actions":[],"x":"',
    "nul \x00, bell \x07, escape \x1b",
    "lone \ud83d surrogate",
    "line\nbreak\ttab\r\n",
    "مرحبا 🚑 中文",
    "%s {0} ${x} \\ \\u0000",
    "x" * 100_000,
    "&" * 100_000,
)
# Everything that a carrier can be asked and fail at, as `_ask` does it.
ASKED = (
    "register",
    "unregister",
    "check",
    "hang_up",
    "direct",
    "place_call",
    "find_call",
    "look_up",
    "recording",
    "delete_recording",
)
# The facts that a carrier tells of a call under way, but for a change of its state.
TOLD: tuple[CarrierEventKind, ...] = (
    "answered",
    "speech",
    "keys",
    "interrupted",
    "more",
    "leg",
    "voicemail",
    "recording",
)
_call_numbers = count(1)
_quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@dataclass(frozen=True)
class Rendered:
    """What the carrier understands of a response: what to do, what to bring back, and where to."""

    actions: tuple[Action, ...]
    state: str | None
    next_urls: tuple[str, ...]


def call_name() -> str:
    """A carrier's call id that no test of this process has used, as the strictest one spells it."""
    return f"CA{next(_call_numbers):032x}"


def outbound(**given: Any) -> OutboundCall:
    """A call of acme's that a carrier shall place, under a reference that no test has used."""
    fields = {
        "reference": uuid4().hex,
        "number": CALLER,
        "from_number": NUMBER,
        "callback_url": CALLBACK,
        "state": STATE,
    }
    return OutboundCall(**{**fields, **given})


def metadata(call_id: str) -> CallMetadata:
    """A call that was routed to acme."""
    return CallMetadata(
        tenant_id=ACME,
        phone_number_id=uuid4(),
        caller_number=None,
        called_number=NUMBER,
        direction="inbound",
        timestamp=datetime(2026, 11, 22, 18, tzinfo=UTC),
        call_id=call_id,
    )


class TelephonyContract:
    """Inherit and give the fixtures and hooks up to the first test."""

    adapter_class: ClassVar[type[TelephonyAdapter]]
    signature_headers: ClassVar[tuple[str, ...]]
    """In lower case; without any of them no request is genuine."""
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]]
    """What the carrier calls a change of a call: the event's type and end reason."""
    longest_sentence: ClassVar[int]

    @pytest.fixture
    def adapter(self) -> TelephonyAdapter:
        """An adapter with an account, as the first process has it."""
        raise NotImplementedError

    @pytest.fixture
    def twin(self) -> TelephonyAdapter:
        """The same account's adapter in another process."""
        raise NotImplementedError

    @pytest.fixture
    def stranger(self) -> TelephonyAdapter:
        """An adapter of another account with the same carrier."""
        raise NotImplementedError

    def deployment(self) -> Settings:
        """Settings of a deployment that uses the carrier."""
        raise NotImplementedError

    def account(self, which: Literal["one", "changed"]) -> Mapping[str, str]:
        """The fields of a tenant's own account, and of the same after its secrets were changed."""
        raise NotImplementedError

    def ring(self, adapter: TelephonyAdapter, *, call_id: str, to: str, caller: str) -> Any:
        """The genuine CarrierRequest by which a call rings; `caller` as the network has it."""
        raise NotImplementedError

    def speech(self, adapter: TelephonyAdapter, *, call_id: str, state: str, text: str) -> Any:
        """The genuine CarrierRequest with what a caller said."""
        raise NotImplementedError

    def told(
        self, adapter: TelephonyAdapter, kind: CarrierEventKind, *, call_id: str, **said: Any
    ) -> Any:
        """The genuine CarrierRequest that tells one of `TOLD`, with the token `STATE`.

        `said`: `speech` (also what had been spoken by an interruption), `keys`, `leg` and
        `recording_id`, as in CarrierFacts. None if the carrier never tells this.
        """
        raise NotImplementedError

    def status(self, adapter: TelephonyAdapter, *, call_id: str, status: str) -> Any:
        """The genuine CarrierRequest that tells of a change, in one of the words of `statuses`."""
        raise NotImplementedError

    def altered(self, request: CarrierRequest) -> CarrierRequest:
        """The request with another body that could be genuine, and the signature it had."""
        raise NotImplementedError

    def read(self, response: CarrierResponse) -> Rendered:
        """Read a response as the carrier does; fails for what the carrier would not accept."""
        raise NotImplementedError

    def owner(self, adapter: TelephonyAdapter, number: str) -> UUID | None:
        """Whose the carrier's own record says the number is."""
        raise NotImplementedError

    def call_is(
        self, adapter: TelephonyAdapter, call_id: str, how: Literal["live", "over"]
    ) -> None:
        """Let the carrier have this call, live or ended by who called."""
        raise NotImplementedError

    def directed(self, adapter: TelephonyAdapter, call_id: str) -> list[Rendered | None]:
        """What a live call was told to do, in order; None is to end it."""
        raise NotImplementedError

    def dialled(self, adapter: TelephonyAdapter, reference: str) -> list[str]:
        """The numbers that the carrier has dialled under a reference of ours."""
        raise NotImplementedError

    def record(self, adapter: TelephonyAdapter, call_id: str, audio: bytes) -> None:
        """Let the carrier hold this audio, WAV, of a call."""
        raise NotImplementedError

    def break_carrier(self, adapter: TelephonyAdapter, fault: Fault) -> None:
        """Let the carrier refuse the next thing, fail at it, or never answer."""
        raise NotImplementedError

    # --- The class ---------------------------------------------------------------------------

    def test_it_is_in_the_table_of_adapters_under_its_name(self) -> None:
        module, _, name = ADAPTERS[self.adapter_class.name].partition(":")

        assert (self.adapter_class.__module__, self.adapter_class.__qualname__) == (module, name)

    def test_its_name_and_its_actions_can_stand_in_a_url(self) -> None:
        for word in (self.adapter_class.name, *self.adapter_class.actions):
            assert word.isascii()
            assert word.replace("_", "").isalnum()
            assert word == word.lower()

    def test_it_declares_what_the_carrier_can_do(self) -> None:
        assert isinstance(self.adapter_class.capabilities, Capabilities)

    def test_its_requests_go_to_its_own_actions(self, adapter: TelephonyAdapter) -> None:
        call = call_name()
        requests = [
            *self._one_of_each(adapter),
            *(self.status(adapter, call_id=call, status=status) for status in self.statuses),
        ]

        assert {request.action for request in requests} == set(adapter.actions)

    def test_an_instance_keeps_nothing_about_a_call(
        self, adapter: TelephonyAdapter, twin: TelephonyAdapter
    ) -> None:
        call = call_name()
        ring = self.ring(adapter, call_id=call, to=NUMBER, caller=CALLER)
        adapter.parse(ring)
        adapter.on_inbound_call(metadata(call))
        speech = self.speech(adapter, call_id=call, state=STATE, text="Hello?")

        twin.verify(speech)

        assert twin.parse(speech) == adapter.parse(speech)
        reply = CallReply((Say("Yes."), Listen()), STATE)
        answers = [one.render(reply, callback_url=CALLBACK) for one in (adapter, twin)]
        assert answers[0] == answers[1]

    # --- of_account --------------------------------------------------------------------------

    def test_a_tenants_account_looks_as_it_should(self) -> None:
        known = {field.name: field for field in self.adapter_class.account_fields}
        for which in ("one", "changed"):
            fields = self.account(which)  # type: ignore[arg-type] # one of them

            assert {name for name, field in known.items() if field.required} <= fields.keys()
            assert all(known[name].pattern.fullmatch(text) for name, text in fields.items())
        assert any(field.secret for field in known.values())

    def test_a_tenants_account_signs_for_itself_and_no_other(
        self, adapter: TelephonyAdapter
    ) -> None:
        own = self._of_account(Account(self.account("one")))

        for request in self._one_of_each(own):
            own.verify(request)
            self._refused(adapter, request)
        for request in self._one_of_each(adapter):
            self._refused(own, request)

    def test_while_an_account_is_changed_both_its_signatures_are_genuine(self) -> None:
        before = self._of_account(Account(self.account("one")))
        after = self._of_account(Account(self.account("changed")))
        between = self._of_account(Account(self.account("changed"), previous=self.account("one")))

        for old, new in zip(self._one_of_each(before), self._one_of_each(after), strict=True):
            between.verify(old)
            between.verify(new)
            self._refused(after, old)
            self._refused(before, new)

    def test_what_an_account_consists_of_is_not_in_its_repr(self) -> None:
        account = Account(self.account("one"), previous=self.account("changed"))

        assert all(text not in repr(account) for text in account.fields.values())

    def test_without_an_account_it_reads_and_renders_and_no_signature_is_genuine(
        self, adapter: TelephonyAdapter
    ) -> None:
        nobodys = self._of_account(None)
        reply = CallReply((Say("Hello."), Listen()), STATE)

        for request in self._one_of_each(adapter):
            assert nobodys.parse(request).kind == adapter.parse(request).kind
            self._refused(nobodys, request)
        assert nobodys.render(reply, callback_url=CALLBACK) == adapter.render(
            reply, callback_url=CALLBACK
        )

    @pytest.mark.parametrize("what", ASKED)
    def test_without_an_account_whatever_is_asked_is_refused_for_good(self, what: str) -> None:
        with pytest.raises(TelephonyError) as raised:
            self._ask(self._of_account(None), what, call_name())

        assert raised.value.permanent

    # --- register_number ---------------------------------------------------------------------

    def test_registering_marks_the_number_as_the_tenants(self, adapter: TelephonyAdapter) -> None:
        adapter.register_number(ACME, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) == ACME

    def test_registering_twice_is_the_same_as_once(self, adapter: TelephonyAdapter) -> None:
        phone_number_id = uuid4()

        adapter.register_number(ACME, phone_number_id, NUMBER)
        adapter.register_number(ACME, phone_number_id, NUMBER)
        assert self.owner(adapter, NUMBER) == ACME

        adapter.unregister_number(ACME, phone_number_id, NUMBER)
        assert self.owner(adapter, NUMBER) is None

    def test_a_number_that_the_carrier_holds_for_another_tenant_is_not_touched(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        with pytest.raises(TelephonyError) as raised:
            adapter.register_number(ACME, uuid4(), NUMBER)

        assert raised.value.permanent
        assert self.owner(adapter, NUMBER) == GLOBEX

    def test_of_two_tenants_who_register_at_once_one_has_the_number(
        self, adapter: TelephonyAdapter
    ) -> None:
        def register(tenant_id: UUID) -> bool:
            try:
                adapter.register_number(tenant_id, uuid4(), NUMBER)
            except TelephonyError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(register, [ACME, GLOBEX] * 4))

        owner = self.owner(adapter, NUMBER)
        assert won == [owner == ACME, owner == GLOBEX] * 4

    @pytest.mark.parametrize("fault", ["refuses", "fails", "is silent"])
    @pytest.mark.parametrize("what", ASKED)
    def test_a_failure_is_a_telephony_error_in_time_that_says_whether_to_ask_again(
        self, adapter: TelephonyAdapter, what: str, fault: Fault
    ) -> None:
        self.break_carrier(adapter, fault)
        asked_at = monotonic()

        with pytest.raises(TelephonyError) as raised:
            self._ask(adapter, what, call_name())

        assert raised.value.permanent is (fault == "refuses")
        assert monotonic() - asked_at < LONGEST_WAIT_S

    def test_after_a_failure_registering_again_succeeds(self, adapter: TelephonyAdapter) -> None:
        self.break_carrier(adapter, "fails")
        with pytest.raises(TelephonyError):
            adapter.register_number(ACME, uuid4(), NUMBER)

        adapter.register_number(ACME, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) == ACME

    # --- unregister_number -------------------------------------------------------------------

    def test_unregistering_undoes_registering(self, adapter: TelephonyAdapter) -> None:
        other = "+14155550199"
        adapter.register_number(ACME, uuid4(), NUMBER)
        adapter.register_number(ACME, uuid4(), other)

        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) is None
        assert self.owner(adapter, other) == ACME

    def test_unregistering_what_is_not_registered_is_a_success(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) is None

    def test_unregistering_what_is_another_tenants_changes_nothing(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) == GLOBEX

    def test_a_number_that_was_let_go_may_be_another_tenants(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(ACME, uuid4(), NUMBER)
        adapter.unregister_number(ACME, uuid4(), NUMBER)

        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        assert self.owner(adapter, NUMBER) == GLOBEX

    # --- check_number ------------------------------------------------------------------------

    def test_a_registered_number_is_held_as_it_should_be(self, adapter: TelephonyAdapter) -> None:
        phone_number_id = uuid4()
        adapter.register_number(ACME, phone_number_id, NUMBER)

        held = adapter.check_number(ACME, phone_number_id, NUMBER)

        assert held
        assert [field for field in held if not field.agrees] == []
        assert len({field.name for field in held}) == len(held)

    def test_checking_shows_what_is_not_as_it_should_be_and_mends_nothing(
        self, adapter: TelephonyAdapter
    ) -> None:
        phone_number_id = uuid4()
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        for _ in range(2):
            held = adapter.check_number(ACME, phone_number_id, NUMBER)

            assert any(not field.agrees for field in held)
        assert self.owner(adapter, NUMBER) == GLOBEX

    # --- parse -------------------------------------------------------------------------------

    def test_a_ring_is_read(self, adapter: TelephonyAdapter) -> None:
        call = call_name()

        facts = adapter.parse(self.ring(adapter, call_id=call, to=NUMBER, caller=CALLER))

        assert (facts.kind, facts.provider_call_id) == ("call", call)
        assert (facts.called_number, facts.caller) == (NUMBER, Caller(CALLER, "shown"))
        assert (facts.state, facts.event, facts.simulated) == (None, None, False)

    def test_speech_is_read_with_the_token_that_the_carrier_was_given(
        self, adapter: TelephonyAdapter
    ) -> None:
        call, words = call_name(), "Ünïcode, “quotes” & <tags>?"

        facts = adapter.parse(self.speech(adapter, call_id=call, state=STATE, text=words))

        assert (facts.kind, facts.provider_call_id) == ("speech", call)
        assert (facts.state, facts.speech) == (STATE, words)
        assert facts.event is None

    def test_a_call_of_ours_that_was_answered_is_read(self, adapter: TelephonyAdapter) -> None:
        call = call_name()

        facts = adapter.parse(self.told(adapter, "answered", call_id=call))

        assert (facts.kind, facts.provider_call_id, facts.state) == ("answered", call, STATE)

    def test_keys_are_read(self, adapter: TelephonyAdapter) -> None:
        request = self.told(adapter, "keys", call_id=call_name(), keys="0123456789*#")

        facts = adapter.parse(request)

        assert (facts.kind, facts.state, facts.keys) == ("keys", STATE, "0123456789*#")

    def test_what_had_been_spoken_by_an_interruption_is_read(
        self, adapter: TelephonyAdapter
    ) -> None:
        request = self.told(adapter, "interrupted", call_id=call_name(), speech="We open at")
        if request is None:
            return  # such a carrier tells it with what the caller said, or never

        facts = adapter.parse(request)

        assert (facts.kind, facts.state, facts.speech) == ("interrupted", STATE, "We open at")

    def test_a_carrier_that_comes_back_for_more_is_read(self, adapter: TelephonyAdapter) -> None:
        facts = adapter.parse(self.told(adapter, "more", call_id=call_name()))

        assert (facts.kind, facts.state) == ("more", STATE)

    @pytest.mark.parametrize("leg", get_args(LegOutcome))
    def test_the_outcome_of_a_leg_is_read(self, adapter: TelephonyAdapter, leg: LegOutcome) -> None:
        facts = adapter.parse(self.told(adapter, "leg", call_id=call_name(), leg=leg))

        assert (facts.kind, facts.state, facts.leg) == ("leg", STATE, leg)

    @pytest.mark.parametrize("kind", ["voicemail", "recording"])
    def test_word_of_a_recording_is_read(
        self, adapter: TelephonyAdapter, kind: CarrierEventKind
    ) -> None:
        request = self.told(adapter, kind, call_id=call_name(), recording_id=RECORDING)

        facts = adapter.parse(request)

        assert (facts.kind, facts.state, facts.recording_id) == (kind, STATE, RECORDING)

    def test_every_status_is_read_as_its_event(self, adapter: TelephonyAdapter) -> None:
        for status, (event_type, end_reason) in self.statuses.items():
            call = call_name()

            facts = adapter.parse(self.status(adapter, call_id=call, status=status))

            assert (facts.kind, facts.provider_call_id) == ("status", call)
            event = self._event(facts)
            assert (event.event_type, event.end_reason) == (event_type, end_reason)
            assert event.call_id == call
            assert event.timestamp.tzinfo is not None

    def test_reasons_belong_to_ends_only(self) -> None:
        for event_type, end_reason in self.statuses.values():
            assert (end_reason is not None) == (event_type in ("ENDED", "FAILED"))

    def test_a_status_that_comes_twice_is_one_event_and_another_is_another(
        self, adapter: TelephonyAdapter
    ) -> None:
        call = call_name()
        twice = [*self.statuses, *self.statuses]

        keys = [
            self._event(adapter.parse(self.status(adapter, call_id=call, status=status))).key
            for status in twice
        ]

        assert keys[: len(self.statuses)] == keys[len(self.statuses) :]
        assert len(set(keys)) == len(self.statuses)

    @pytest.mark.parametrize(("raw", "caller_id"), NO_NUMBER.items())
    def test_a_withheld_anonymous_or_odd_caller_is_read_never_refused(
        self, adapter: TelephonyAdapter, raw: str, caller_id: str
    ) -> None:
        request = self.ring(adapter, call_id=call_name(), to=NUMBER, caller=raw)

        assert adapter.parse(request).caller == Caller(None, caller_id)  # type: ignore[arg-type]

    @_quick
    @example(b"")
    @example(b"\x00")
    @example(b"{}")
    @example(b"[]")
    @example(b'{"call_id": 7}')
    @example(b"CallSid=a&CallSid=b&From=%00&To=%ff")
    @example(b"[" * 100_000)
    @given(body=st.binary(max_size=200))
    def test_bytes_that_the_carrier_would_not_send_are_refused_as_such(
        self, adapter: TelephonyAdapter, body: bytes
    ) -> None:
        genuine = self.ring(adapter, call_id=call_name(), to=NUMBER, caller=CALLER)
        for action in adapter.actions:
            self._read_or_refuse(adapter, replace(genuine, action=action, body=body))

    @_quick
    @given(place=st.integers(0, 10_000), change=st.binary(min_size=1, max_size=4))
    def test_a_request_with_a_bit_of_nonsense_in_it_is_read_or_refused(
        self, adapter: TelephonyAdapter, place: int, change: bytes
    ) -> None:
        for genuine in self._one_of_each(adapter):
            at = place % (len(genuine.body) + 1)
            body = genuine.body[:at] + change + genuine.body[at + len(change) :]
            self._read_or_refuse(adapter, replace(genuine, body=body))

    def test_reading_checking_and_rendering_touch_no_network(
        self, adapter: TelephonyAdapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect(*_: Any) -> None:
            raise AssertionError("the network was touched")

        call = call_name()
        ring = self.ring(adapter, call_id=call, to=NUMBER, caller=CALLER)
        monkeypatch.setattr(socket.socket, "connect", connect)
        monkeypatch.setattr(socket, "getaddrinfo", connect)

        adapter.parse(ring)
        adapter.verify(ring)
        adapter.on_inbound_call(metadata(call))
        adapter.render(CallReply((Say("Hello."), Listen()), STATE), callback_url=CALLBACK)

    # --- verify ------------------------------------------------------------------------------

    def test_a_genuine_request_is_accepted(self, adapter: TelephonyAdapter) -> None:
        for request in self._one_of_each(adapter):
            adapter.verify(request)
            adapter.verify(request)

    def test_a_request_without_a_signature_is_refused(self, adapter: TelephonyAdapter) -> None:
        for request in self._one_of_each(adapter):
            for missing in self.signature_headers:
                headers = {name: text for name, text in request.headers.items() if name != missing}
                self._refused(adapter, replace(request, headers=headers))

    @pytest.mark.parametrize(
        "garbage", ["", " ", "0", "é", "\xff\x00", "=", "====", "x" * 10_000, "0" * 64, "[]", "-1"]
    )
    def test_a_signature_that_cannot_be_read_is_refused(
        self, adapter: TelephonyAdapter, garbage: str
    ) -> None:
        for request in self._one_of_each(adapter):
            for broken in self.signature_headers:
                headers = {**request.headers, broken: garbage}
                self._refused(adapter, replace(request, headers=headers))

    def test_another_body_under_a_genuine_signature_is_refused(
        self, adapter: TelephonyAdapter
    ) -> None:
        for request in self._one_of_each(adapter):
            other = self.altered(request)
            assert other.body != request.body
            assert other.headers == request.headers

            self._refused(adapter, other)
            self._refused(adapter, replace(request, body=request.body + b" "))
            self._refused(adapter, replace(request, body=b""))

    def test_a_request_of_another_account_is_refused(
        self, adapter: TelephonyAdapter, stranger: TelephonyAdapter
    ) -> None:
        for request in self._one_of_each(stranger):
            stranger.verify(request)
            self._refused(adapter, request)

    # --- on_inbound_call ---------------------------------------------------------------------

    def test_a_call_enters_the_record_as_ringing_or_initiated(
        self, adapter: TelephonyAdapter
    ) -> None:
        routed = metadata(call_name())

        event = adapter.on_inbound_call(routed)

        assert event.event_type in ("INITIATED", "RINGING")
        assert (event.call_id, event.timestamp) == (routed.call_id, routed.timestamp)
        assert (event.end_reason, event.end_detail) == (None, None)

    def test_the_same_call_always_gives_an_event_with_the_same_key(
        self, adapter: TelephonyAdapter, twin: TelephonyAdapter
    ) -> None:
        call, other = call_name(), call_name()

        keys = {one.on_inbound_call(metadata(call)).key for one in (adapter, adapter, twin)}

        assert len(keys) == 1
        assert adapter.on_inbound_call(metadata(other)).key not in keys

    # --- render ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "actions",
        [
            (),
            (Say("Hello."), Listen(7)),
            (Say("One."), Say("Two."), HangUp()),
            (Say("I connect you."), Forward(CALLER)),
            (Forward(CALLER),),
            (Reject(),),
            (Reject("busy"),),
            (HangUp(),),
            (Say("Grüß Gott.", "de-AT", "a-voice"), Listen(3, "de-AT")),
            (Say("I connect you."), Transfer(CALLER, 17)),
            (Say("This call is recorded."), Record(), Say("Hello."), Listen()),
            (Say("Leave a message."), TakeVoicemail(45)),
            (SendKeys("12#"), Listen()),
            (Say("One moment."), Poll()),
            (Poll(),),
        ],
    )
    def test_a_reply_is_understood_in_its_order(
        self, adapter: TelephonyAdapter, actions: tuple[Action, ...]
    ) -> None:
        response = adapter.render(CallReply(actions), callback_url=CALLBACK)

        assert response.status == 200
        assert [_gist(action) for action in self.read(response).actions] == [
            _gist(action) for action in actions
        ]

    @pytest.mark.parametrize("last", [Listen(), Transfer(CALLER), TakeVoicemail(), Poll()])
    def test_the_token_comes_back_with_the_next_request(
        self, adapter: TelephonyAdapter, last: Action
    ) -> None:
        reply = CallReply((Say("Hello."), last), STATE)

        assert self.read(adapter.render(reply, callback_url=CALLBACK)).state == STATE

    def test_the_next_request_comes_to_us(self, adapter: TelephonyAdapter) -> None:
        reply = CallReply((Say("Hello."), Listen()), STATE)

        urls = self.read(adapter.render(reply, callback_url=CALLBACK)).next_urls

        assert urls
        for url in urls:
            assert url.startswith(CALLBACK)
            assert url.removeprefix(CALLBACK).partition("?")[0] in {"", *adapter.actions}

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_whatever_a_text_holds_the_answer_is_valid_escaped_and_bounded(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        self._says(adapter, text)

    @_quick
    @given(text=st.text(st.characters(codec=None), max_size=200))
    def test_any_text_is_said_and_nothing_else(self, adapter: TelephonyAdapter, text: str) -> None:
        self._says(adapter, text)

    # --- Sockets: render, parse and verify_socket ---------------------------------------------

    def test_it_says_how_its_sockets_speak_if_it_has_some(self) -> None:
        assert self.adapter_class.capabilities.relay is (
            self.adapter_class.websocket_format is not None
        )

    @pytest.mark.parametrize("greeting", ["Grüß Gott & <willkommen>", ""])
    @pytest.mark.parametrize("first", [(), (Say("This call is recorded."), Record())])
    def test_a_caller_is_connected_to_our_socket(
        self, adapter: TelephonyAdapter, first: tuple[Action, ...], greeting: str
    ) -> None:
        if not adapter.capabilities.relay:
            return
        relay = Relay("wss://voice.example.com/relay", "WyJ.a-token_", greeting, "de-DE")

        response = adapter.render(CallReply((*first, relay), STATE), callback_url=CALLBACK)

        understood = self.read(response)
        *before, last = understood.actions
        assert [_gist(action) for action in before] == [_gist(action) for action in first]
        assert isinstance(last, Relay)
        assert replace(last, voice=None) == relay
        assert understood.state == STATE

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_whatever_a_greeting_holds_the_answer_is_valid_and_bounded(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        if adapter.capabilities.relay:
            relay = Relay("wss://voice.example.com/relay", "token", text)

            response = adapter.render(CallReply((relay,), STATE), callback_url=CALLBACK)

            [found] = self.read(response).actions
            assert isinstance(found, Relay)
            assert len(found.greeting) <= self.longest_sentence

    def test_the_end_of_a_socket_is_read(self, adapter: TelephonyAdapter) -> None:
        if adapter.capabilities.relay:
            facts = adapter.parse(self.told(adapter, "relayed", call_id=call_name()))

            assert (facts.kind, facts.state) == ("relayed", STATE)
            assert facts.handoff

    def test_a_socket_that_broke_brings_no_word_back(self, adapter: TelephonyAdapter) -> None:
        if adapter.capabilities.relay:
            broken = self.told(adapter, "relayed", call_id=call_name(), broken=True)

            assert (adapter.parse(broken).kind, adapter.parse(broken).handoff) == ("relayed", "")

    def test_a_carrier_without_sockets_opens_none(self, adapter: TelephonyAdapter) -> None:
        if not adapter.capabilities.relay:
            with pytest.raises(InvalidCarrierSignature):
                adapter.verify_websocket(
                    CarrierRequest("relay", "wss://voice.example.com", {}, b"")
                )

    # --- hang_up -----------------------------------------------------------------------------

    def test_hanging_up_ends_the_call_at_the_carrier(self, adapter: TelephonyAdapter) -> None:
        call, other = call_name(), call_name()

        for name in (call, other):
            self.call_is(adapter, name, "live")

        adapter.hang_up(call)

        assert self.directed(adapter, call) == [None]
        assert self.directed(adapter, other) == []

    def test_hanging_up_a_call_that_has_ended_is_a_success(self, adapter: TelephonyAdapter) -> None:
        call, over = call_name(), call_name()
        self.call_is(adapter, call, "live")
        self.call_is(adapter, over, "over")

        adapter.hang_up(call)
        adapter.hang_up(call)
        adapter.hang_up(over)

    # --- direct ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "actions",
        [
            (Say("Your table is ready."), Listen(7)),
            (Say("I connect you."), Transfer(CALLER, 17)),
            (Transfer(CALLER),),
            (Say("Goodbye."), HangUp()),
        ],
    )
    def test_a_live_call_does_what_it_is_told_and_no_other_does(
        self, adapter: TelephonyAdapter, actions: tuple[Action, ...]
    ) -> None:
        call, other = call_name(), call_name()
        for name in (call, other):
            self.call_is(adapter, name, "live")

        adapter.update_live_call(call, CallReply(actions, STATE), callback_url=CALLBACK)

        [told] = self.directed(adapter, call)
        assert told is not None
        assert list(map(_gist, told.actions)) == list(map(_gist, actions))
        assert self.directed(adapter, other) == []

    def test_what_a_directed_call_tells_next_comes_to_us_with_the_token(
        self, adapter: TelephonyAdapter
    ) -> None:
        call = call_name()
        self.call_is(adapter, call, "live")

        adapter.update_live_call(call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK)

        [told] = self.directed(adapter, call)
        assert told is not None
        assert told.state == STATE
        assert told.next_urls
        assert all(url.startswith(CALLBACK) for url in told.next_urls)

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_whatever_a_directed_text_holds_it_is_said_and_nothing_else(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        call = call_name()
        self.call_is(adapter, call, "live")

        adapter.update_live_call(
            call, CallReply((Say(text), Listen()), STATE), callback_url=CALLBACK
        )

        [told] = self.directed(adapter, call)
        self._is_said(told, text)

    def test_directing_a_call_that_has_ended_can_not_succeed(
        self, adapter: TelephonyAdapter
    ) -> None:
        over, hung_up = call_name(), call_name()
        self.call_is(adapter, over, "over")
        self.call_is(adapter, hung_up, "live")
        adapter.hang_up(hung_up)

        for call in (over, hung_up):
            with pytest.raises(TelephonyError) as raised:
                adapter.update_live_call(
                    call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK
                )

            assert raised.value.permanent

    # --- place_call --------------------------------------------------------------------------

    def test_a_call_that_is_placed_rings_once_and_has_an_id(
        self, adapter: TelephonyAdapter
    ) -> None:
        wanted, another = outbound(), outbound(number="+14155550188")

        ids = {adapter.place_call(wanted), adapter.place_call(another)}

        assert len(ids) == 2
        assert all(ids)
        assert self.dialled(adapter, wanted.reference) == [CALLER]
        assert self.dialled(adapter, another.reference) == ["+14155550188"]

    def test_a_refused_call_was_certainly_not_dialled(self, adapter: TelephonyAdapter) -> None:
        self.break_carrier(adapter, "refuses")
        wanted = outbound()

        with pytest.raises(TelephonyError) as raised:
            adapter.place_call(wanted)

        assert not raised.value.ambiguous
        assert self.dialled(adapter, wanted.reference) == []

    def test_whether_a_silent_carrier_has_dialled_is_not_certain(
        self, adapter: TelephonyAdapter
    ) -> None:
        self.break_carrier(adapter, "is silent")

        with pytest.raises(TelephonyError) as raised:
            adapter.place_call(outbound())

        assert raised.value.ambiguous

    # --- find_call ---------------------------------------------------------------------------

    def test_a_placed_call_is_found_by_our_reference(self, adapter: TelephonyAdapter) -> None:
        wanted = outbound()

        call = adapter.place_call(wanted)

        assert adapter.find_call(wanted) == call
        assert adapter.find_call(replace(wanted, state="another")) == call

    def test_a_placed_call_is_found_though_it_has_ended(self, adapter: TelephonyAdapter) -> None:
        wanted = outbound()
        call = adapter.place_call(wanted)

        self.call_is(adapter, call, "over")

        assert adapter.find_call(wanted) == call

    def test_a_call_that_was_never_placed_is_not_found(self, adapter: TelephonyAdapter) -> None:
        adapter.place_call(outbound())
        never = outbound(begun_at=datetime.now(UTC) + timedelta(minutes=1))

        assert adapter.find_call(never) is None

    # --- look_up -----------------------------------------------------------------------------

    def test_a_live_call_is_seen_as_one(self, adapter: TelephonyAdapter) -> None:
        call = call_name()
        self.call_is(adapter, call, "live")

        assert adapter.find_call_status(call) == CallStatus(call)

    def test_a_placed_call_is_seen_live(self, adapter: TelephonyAdapter) -> None:
        call = adapter.place_call(outbound())

        assert adapter.find_call_status(call) == CallStatus(call)

    def test_an_ended_call_is_seen_with_its_end_always_under_the_same_key(
        self, adapter: TelephonyAdapter
    ) -> None:
        call, other = call_name(), call_name()
        for name in (call, other):
            self.call_is(adapter, name, "over")

        ends = [adapter.find_call_status(name) for name in (call, call, other)]

        keys = []
        for seen in ends:
            assert seen is not None
            assert seen.event is not None
            assert seen.event.event_type in ("ENDED", "FAILED")
            assert seen.event.end_reason is not None
            assert seen.event.timestamp.tzinfo is not None
            keys.append(seen.event.key)
        assert keys[0] == keys[1] != keys[2]

    def test_a_call_that_the_carrier_does_not_know_is_none(self, adapter: TelephonyAdapter) -> None:
        assert adapter.find_call_status(call_name()) is None

    # --- recording, delete_recording ---------------------------------------------------------

    def test_a_call_without_a_recording_has_none(self, adapter: TelephonyAdapter) -> None:
        assert adapter.fetch_recording(call_name()) is None

    def test_a_recording_comes_in_chunks_and_whole(self, adapter: TelephonyAdapter) -> None:
        call, audio = call_name(), bytes(range(256)) * 12_000
        self.record(adapter, call, audio)

        recording = adapter.fetch_recording(call)

        assert isinstance(recording, Recording)
        assert recording.content_type == "audio/wav"
        chunks = list(recording.chunks)
        assert b"".join(chunks) == audio
        assert max(map(len, chunks)) <= 1024 * 1024

    def test_a_recording_may_be_asked_for_again(self, adapter: TelephonyAdapter) -> None:
        call = call_name()
        self.record(adapter, call, b"RIFF of a call")
        first = adapter.fetch_recording(call)
        assert first is not None
        next(first.chunks)
        first.chunks.close()

        again = adapter.fetch_recording(call)

        assert again is not None
        assert b"".join(again.chunks) == b"RIFF of a call"

    def test_a_deleted_recording_is_gone_and_no_other(self, adapter: TelephonyAdapter) -> None:
        call, other = call_name(), call_name()
        self.record(adapter, call, b"one")
        self.record(adapter, other, b"another")

        adapter.delete_recording(call)

        assert adapter.fetch_recording(call) is None
        assert adapter.fetch_recording(other) is not None

    def test_deleting_a_recording_that_is_gone_is_a_success(
        self, adapter: TelephonyAdapter
    ) -> None:
        call = call_name()
        self.record(adapter, call, b"one")

        adapter.delete_recording(call)
        adapter.delete_recording(call)
        adapter.delete_recording(call_name())

    def test_more_than_the_largest_recording_is_cut_off(self) -> None:
        read, closed = [], []

        def endless() -> Iterator[bytes]:
            try:
                while True:
                    yield b"12345"
            finally:
                closed.append(True)

        with pytest.raises(TelephonyError) as raised:
            read.extend(limit_size(endless(), max_bytes=12))

        assert raised.value.permanent
        assert (raised.value.code, closed) == ("too-large", [True])
        assert list(limit_size([b"12345", b"6789"], max_bytes=9)) == [b"12345", b"6789"]

    # --- What the tests above share ----------------------------------------------------------

    def _one_of_each(self, adapter: TelephonyAdapter) -> list[CarrierRequest]:
        call = call_name()
        said = {"speech": "Hello?", "keys": "1", "leg": "busy", "recording_id": RECORDING}
        told = (self.told(adapter, kind, call_id=call, **said) for kind in TOLD)
        return [
            self.ring(adapter, call_id=call, to=NUMBER, caller=CALLER),
            *(request for request in told if request is not None),
            self.status(adapter, call_id=call, status=next(iter(self.statuses))),
        ]

    def _ask(self, adapter: TelephonyAdapter, what: str, call: str) -> None:
        match what:
            case "register":
                adapter.register_number(ACME, uuid4(), NUMBER)
            case "unregister":
                adapter.unregister_number(ACME, uuid4(), NUMBER)
            case "check":
                adapter.check_number(ACME, uuid4(), NUMBER)
            case "hang_up":
                adapter.hang_up(call)
            case "direct":
                adapter.update_live_call(
                    call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK
                )
            case "place_call":
                adapter.place_call(outbound())
            case "find_call":
                adapter.find_call(outbound())
            case "look_up":
                adapter.find_call_status(call)
            case "recording":
                adapter.fetch_recording(call)
            case "delete_recording":
                adapter.delete_recording(call)

    def _of_account(self, account: Account | None) -> TelephonyAdapter:
        return self.adapter_class.from_account(self.deployment(), account)

    def _event(self, facts: CarrierEvent) -> CallEvent:
        assert facts.event is not None
        return facts.event

    def _refused(self, adapter: TelephonyAdapter, request: CarrierRequest) -> None:
        with pytest.raises(InvalidCarrierSignature):
            adapter.verify(request)

    def _read_or_refuse(self, adapter: TelephonyAdapter, request: CarrierRequest) -> None:
        """What is read can be stored; anything but a BadCarrierRequest fails the test."""
        try:
            facts = adapter.parse(request)
        except InvalidCarrierRequest:
            return
        told = (facts.speech, facts.keys, facts.state or "", facts.recording_id or "")
        read = (facts.provider_call_id, facts.called_number, *told)
        assert all(is_storable(text) for text in read)
        assert facts.provider_call_id
        assert facts.caller.number is None or is_e164(facts.caller.number)
        assert (facts.event is not None) == (facts.kind == "status")
        assert (facts.leg is not None) == (facts.kind == "leg")
        assert set(facts.keys) <= set("0123456789*#")

    def _says(self, adapter: TelephonyAdapter, text: str) -> None:
        reply = CallReply((Say(text), Listen()), STATE)

        self._is_said(self.read(adapter.render(reply, callback_url=CALLBACK)), text)

    def _is_said(self, rendered: Rendered | None, text: str) -> None:
        assert rendered is not None
        said, last = rendered.actions
        assert isinstance(said, Say)
        assert said.text == sanitize(text, max_length=self.longest_sentence)
        assert isinstance(last, Listen)
        assert rendered.state == STATE


def _gist(action: Action) -> tuple[object, ...]:
    """What a caller notices of an action; voices and reasons are the carrier's affair."""
    match action:
        case Say():
            return Say, action.text
        case Listen():
            return Listen, action.silence_s
        case Forward():
            return Forward, action.number
        case Transfer():
            return Transfer, action.number, action.timeout_s
        case TakeVoicemail():
            return TakeVoicemail, action.longest_s
        case SendKeys():
            return SendKeys, action.keys
    return (type(action),)
