"""Parse TwiML as Twilio does: its verbs and attributes, and the actions they stand for."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.contract.suites.telephony import RenderedReply
from tests.support import permits
from vca.telephony.turn_settings import SpokenLanguage, TurnSettings
from vca.telephony.types import (
    Action,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
)

MAX_BYTES = 64_000
# The attributes and the children of each verb, from Twilio's reference, as far as VCA uses them.
_VERBS: dict[str, tuple[set[str], set[str]]] = {
    "Response": (
        set(),
        {
            *("Say", "Play", "Gather", "Dial", "Record", "Start", "Redirect", "Hangup"),
            *("Reject", "Connect"),
        },
    ),
    "Say": ({"voice", "language", "loop"}, set()),
    "Play": ({"digits", "loop"}, set()),
    "Gather": (
        {
            *("input", "action", "method", "timeout", "speechTimeout", "language", "hints"),
            *("actionOnEmptyResult", "finishOnKey", "numDigits"),
        },
        {"Say", "Play"},
    ),
    "Connect": ({"action", "method"}, {"ConversationRelay"}),
    "ConversationRelay": (
        {
            *("url", "welcomeGreeting", "language", "ttsProvider", "voice", "interruptible"),
            *("dtmfDetection", "transcriptionProvider", "welcomeGreetingInterruptible"),
            *("ttsLanguage", "transcriptionLanguage", "interruptSensitivity", "ignoreBackchannel"),
            *("turnDetection", "echoPromptFiltering", "speechTimeout", "applicationReconnect"),
        },
        {"Parameter", "Language"},
    ),
    "Language": ({"code", "ttsProvider", "voice"}, set()),
    "Parameter": ({"name", "value"}, set()),
    "Dial": ({"action", "method", "timeout", "callerId", "answerOnBridge"}, {"Number"}),
    "Record": ({"action", "method", "maxLength", "timeout", "playBeep", "finishOnKey"}, set()),
    "Start": (set(), {"Recording"}),
    "Recording": (
        {"channels", "recordingStatusCallback", "recordingStatusCallbackEvent"},
        set(),
    ),
    "Redirect": ({"method"}, set()),
    "Hangup": (set(), set()),
    "Reject": ({"reason"}, set()),
}


@dataclass(frozen=True)
class TwimlDocument:
    """A parsed TwiML document."""

    root: Element

    @property
    def verbs(self) -> list[str]:
        """Return the verbs that Twilio executes, in order."""
        return [verb.tag for verb in self.root]

    @property
    def spoken_text(self) -> str:
        """Return the text that the caller hears."""
        return " ".join(say.text or "" for say in self.root.iter("Say"))

    def find(self, verb: str) -> Element:
        """Return the only verb with this name."""
        [element] = self.root.iter(verb)
        return element

    def next_url(self, verb: str) -> str:
        """Return the URL that Twilio requests after this verb."""
        element = self.find(verb)
        return element.get("action") or element.text or ""

    def interpret(self) -> RenderedReply:
        """Return the actions that the document stands for."""
        actions = tuple(_interpret_verbs(list(self.root)))
        urls = tuple(_callback_urls(self.root))
        states = {state for url in urls for state in parse_qs(urlsplit(url).query).get("state", ())}
        assert len(states) <= 1
        return RenderedReply(actions, next(iter(states), None), urls)


def parse_twiml(text: bytes) -> TwimlDocument:
    """Parse a document; fail if Twilio would refuse it."""
    assert len(text) <= MAX_BYTES
    root = ElementTree.fromstring(text)
    assert root.tag == "Response"
    _check_verb(root)
    return TwimlDocument(root)


def _check_verb(verb: Element) -> None:
    attributes, allowed_children = _VERBS[verb.tag]
    assert set(verb.keys()) <= attributes, (verb.tag, verb.keys())
    for child in verb:
        assert child.tag in allowed_children, (verb.tag, child.tag)
        _check_verb(child)


def _interpret_verbs(verbs: list[Element]) -> Iterator[Action]:
    for verb, previous in zip(verbs, [None, *verbs], strict=False):
        match verb.tag:
            case "Say":
                yield Say(verb.text or "", verb.get("language"), verb.get("voice"))
            case "Gather":
                yield from _interpret_verbs(list(verb))
                assert verb.get("input") == "speech dtmf"
                yield Listen(int(verb.get("timeout") or 5), verb.get("language"))
            case "Connect":
                yield _interpret_relay(verb[0])
            case "Dial" if verb.get("action"):
                yield permits.transfer(verb.text or "", int(verb.get("timeout") or 30))
            case "Dial":
                yield permits.forward(verb.text or "")
            case "Record":
                yield TakeVoicemail(int(verb.get("maxLength") or 3_600))
            case "Start":
                yield Record()
            case "Play":
                yield SendKeys(verb.get("digits") or "")
            case "Redirect" if previous is not None and previous.tag == "Record":
                assert verb.text == previous.get("action")  # for a caller who left no message
            case "Redirect":
                yield Poll()
            case "Hangup":
                yield HangUp()
            case "Reject":
                yield Reject("busy" if verb.get("reason") == "busy" else "rejected")


def _interpret_relay(verb: Element) -> Relay:
    assert verb.get("url", "").startswith(("wss://", "/telephony/"))
    parameter = verb.find("Parameter")
    assert parameter is not None
    assert parameter.get("name") == "token"
    return Relay(
        verb.get("url") or "",
        parameter.get("value") or "",
        verb.get("welcomeGreeting") or "",
        verb.get("language"),
        verb.get("voice"),
        _interpret_turn(verb),
    )


def _interpret_turn(verb: Element) -> TurnSettings:
    """Return the turn settings of the attributes; each must have a value that Twilio knows."""
    end_ms = verb.get("speechTimeout")
    assert end_ms is None or 600 <= int(end_ms) <= 5_000
    sources = [verb.get("interruptible"), verb.get("welcomeGreetingInterruptible")]
    assert set(sources) <= {"none", "dtmf", "speech", "any", None}
    sensitivity = verb.get("interruptSensitivity")
    assert sensitivity in ("low", "medium", "high", None)
    languages = tuple(
        SpokenLanguage(element.get("code") or "", element.get("voice"))
        for element in verb.iter("Language")
    )
    assert bool(languages) is (verb.get("transcriptionLanguage") == "multi")
    return TurnSettings(
        end_ms=int(end_ms) if end_ms else None,
        interruptible=None if sources[0] == "any" else sources[0],  # type: ignore[arg-type]
        greeting_interruptible=sources[1],  # type: ignore[arg-type]
        interrupt_sensitivity=sensitivity,  # type: ignore[arg-type]
        ignore_backchannel=_interpret_boolean(verb.get("ignoreBackchannel")),
        turn_detection=_interpret_boolean(verb.get("turnDetection")),
        echo_filter=_interpret_boolean(verb.get("echoPromptFiltering")),
        languages=languages,
    )


def _interpret_boolean(value: str | None) -> bool | None:
    return {"true": True, "false": False, None: None}[value]


def _callback_urls(root: Element) -> Iterator[str]:
    for verb in root.iter():
        for name in ("action", "recordingStatusCallback"):
            if url := verb.get(name):
                yield url
        if verb.tag == "Redirect":
            yield verb.text or ""
