"""The TwiML that we write: what the caller notices, and the limits that Twilio sets."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.suites.telephony import CALLBACK, CALLER, NUMBER, ODD_TEXTS, STATE
from tests.fakes.carriers.twilio import twiml
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from vca.kit.text import sanitize
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioUrls
from vca.telephony.providers.twilio.twiml import MAX_TEXT_CHARS, MAX_UPDATE_CHARS, render
from vca.telephony.types import (
    Action,
    CallReply,
    CarrierEvent,
    Forward,
    Listen,
    Poll,
    Record,
    Say,
    TakeVoicemail,
    Transfer,
)

ADAPTER = TwilioAdapter((ACCOUNT_LOGIN,), TwilioUrls(CALLBACK))


def _read(*actions: Action, **options: Any) -> twiml.TwimlDocument:
    reply = CallReply(actions, STATE)
    return twiml.parse_twiml(render(reply, callback_url=CALLBACK, **options).encode())


def test_an_empty_reply_is_an_empty_document() -> None:
    response = ADAPTER.render(CallReply(()), callback_url=CALLBACK)

    assert response.body == b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
    assert response.content_type == "text/xml; charset=utf-8"


def test_a_caller_may_break_in_on_all_that_is_said_before_we_listen() -> None:
    heard = _read(Say("One."), Say("Two."), Listen(7, "de-AT"))

    gather = heard.find("Gather")
    assert heard.verbs == ["Gather"]
    assert [say.text for say in gather] == ["One.", "Two."]
    assert gather.get("actionOnEmptyResult") == "true"
    assert gather.get("speechTimeout") == "auto"
    assert (gather.get("timeout"), gather.get("language")) == ("7", "de-AT")


def test_what_is_said_before_anything_else_is_heard_to_its_end() -> None:
    assert _read(Say("Bye."), Transfer(CALLER)).verbs == ["Say", "Dial"]
    assert _read(Say("One."), Record(), Say("Two."), Listen()).verbs == ["Say", "Start", "Gather"]


def test_twilio_listens_for_a_second_at_least() -> None:
    assert _read(Listen(0)).find("Gather").get("timeout") == "1"


@pytest.mark.parametrize(
    ("action", "verb", "where"),
    [
        (Listen(), "Gather", "gather"),
        (Transfer(CALLER), "Dial", "dial"),
        (Poll(), "Redirect", "redirect"),
        (TakeVoicemail(), "Record", "record"),
    ],
)
def test_each_verb_comes_back_under_its_name_with_the_token(
    action: Action, verb: str, where: str
) -> None:
    url = urlsplit(_read(action).next_url(verb))

    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{CALLBACK}turn"
    assert parse_qs(url.query) == {"state": [STATE], "verb": [where]}


def test_who_leaves_no_message_comes_back_too() -> None:
    heard = _read(TakeVoicemail())

    assert heard.verbs == ["Record", "Redirect"]
    assert heard.next_url("Record") == heard.next_url("Redirect")


def test_a_recording_has_both_sides_and_is_told_of() -> None:
    recording = _read(Record(), Say("Hello."), Listen()).find("Recording")

    assert recording.get("channels") == "dual"
    assert recording.get("recordingStatusCallbackEvent") == "completed absent"
    told = recording.get("recordingStatusCallback") or ""
    assert told.startswith(f"{CALLBACK}recording?state=")


@pytest.mark.parametrize("action", [Transfer(CALLER), Forward(CALLER)])
def test_who_is_dialled_sees_the_number_that_was_called(action: Action) -> None:
    facts = CarrierEvent("speech", "CA", NUMBER, caller=None, own_number=NUMBER)  # type: ignore[arg-type] # not asked

    response = ADAPTER.handle(facts, CallReply((action,), STATE), callback_url=CALLBACK)

    assert twiml.parse_twiml(response.body).find("Dial").get("callerId") == NUMBER


@pytest.mark.parametrize("own_number", ["", "sip:x@example.com", '"/><Hangup/>'])
def test_without_a_number_of_ours_twilio_chooses_what_is_seen(own_number: str) -> None:
    facts = CarrierEvent("leg", "CA", "", caller=None, own_number=own_number)  # type: ignore[arg-type] # not asked

    response = ADAPTER.handle(facts, CallReply((Forward(CALLER),)), callback_url=CALLBACK)

    assert twiml.parse_twiml(response.body).find("Dial").get("callerId") is None


@pytest.mark.parametrize(
    ("tag", "spoken"), [("de", "de-DE"), ("en", "en-US"), ("de-AT", "de-AT"), (None, None)]
)
def test_a_language_without_a_country_gets_its_usual_one(
    tag: str | None, spoken: str | None
) -> None:
    heard = _read(Say("Hello.", tag, "Polly.Amy"), Listen(5, tag))

    assert heard.find("Say").get("language") == spoken
    assert heard.find("Say").get("voice") == "Polly.Amy"
    assert heard.find("Gather").get("language") == spoken


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_attributes_hold_any_text(text: str) -> None:
    heard = _read(Say("Hello.", text, text), Listen(5))

    assert heard.verbs == ["Gather"]
    assert heard.find("Say").get("voice") == sanitize(text)[:100]


@pytest.mark.parametrize("many", [1, 8, 100])
@pytest.mark.parametrize("text", ["&", "<", "☎", "🚑", "\r", "]]>"])
def test_a_document_is_never_larger_than_twilio_takes(text: str, many: int) -> None:
    says = [Say(text * 5_000) for _ in range(many)]

    answer = render(CallReply((*says, Listen()), STATE), callback_url=CALLBACK)
    order = render(CallReply((*says[:8], Listen()), STATE), callback_url=CALLBACK, max_size=4_000)

    assert len(answer.encode()) <= twiml.MAX_BYTES
    assert len(order) <= MAX_UPDATE_CHARS
    for document in (answer, order):
        twiml.parse_twiml(document.encode())


def test_an_order_has_room_for_a_whole_sentence_of_what_must_be_escaped() -> None:
    order = render(
        CallReply((Say("&" * 9_000), Listen()), STATE),
        callback_url=CALLBACK,
        max_size=MAX_UPDATE_CHARS,
    )

    assert twiml.parse_twiml(order.encode()).spoken_text == "&" * MAX_TEXT_CHARS


def test_what_ends_a_cdata_section_ends_none_of_ours() -> None:
    text = "&&&&]]>&&&&<Hangup/>&&\r&&"

    assert _read(Say(text)).spoken_text == text
