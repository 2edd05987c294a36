"""The contract tests of languages and voices: a carrier is given only values that it knows."""

from collections.abc import Iterator

import pytest

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import CALLBACK, STATE
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.languages import LanguageTable
from vca.telephony.types import CallReply, Listen, Relay, Say

# What profiles contain that were saved for another carrier, or before languages were checked.
STORED_LANGUAGES = (
    *("EN-us", "de-de", "en_US", "zh-Hans-CN", "zh-TW", "zh-yue", "es-419", "iw", "no", "nn", "tl"),
    *("cy", "fil", "sr-Latn", "de-CH-1996", "tlh", "xx", "qaa-Qaaa-QM-x-southern", "nonsense"),
    *("", " ", '"/><Hangup/>', "☎", "x" * 300, "en-US\n"),
)
STORED_VOICES = (
    *("nonsense", "", "alice", "Polly.Joanna", "polly.VICKI-neural", "AWS.Polly.Joanna-Neural"),
    *("Google.en-US-Chirp3-HD-Aoede", "Google.xx-XX-Standard-A", "Polly.Nobody-Neural"),
    *("Azure.de-DE-KatjaNeural", "ElevenLabs.BaseModel.John", '"/><Hangup/>', "x" * 300),
)


class LanguageTests(ContractBase):
    """Tests of `capabilities.languages`, and of the values in a rendered reply."""

    def test_a_carrier_speaks_english_with_a_voice_of_its_own(self) -> None:
        table = self._require_table()

        assert table.speaks("en")
        assert table.speaks(None)
        assert all(table.has_voice(name, "en") for name in table.voices_for("en"))

    def test_every_language_of_a_carrier_is_both_understood_and_spoken(self) -> None:
        table = self._require_table()

        assert len(table.tags()) >= 20
        for tag in table.tags():
            assert table.recognition.choose(tag) in table.recognition.values
            assert table.speech.choose(tag) in table.speech.values

    def test_every_example_voice_can_be_chosen(self) -> None:
        table = self._require_table()

        for voice in table.example_voices:
            assert all(table.has_voice(voice.name, locale) for locale in voice.locales), voice

    @pytest.mark.parametrize("language", [None, *STORED_LANGUAGES])
    def test_a_carrier_is_given_only_languages_and_voices_that_it_knows(
        self, adapter: TelephonyAdapter, language: str | None
    ) -> None:
        table = self._require_table()
        spoken_language = language if table.speech.nearest_tag(language) else "en"
        for voice in (None, *STORED_VOICES):
            for reply in self._replies(adapter, language, voice):
                response = adapter.render(reply, callback_url=CALLBACK)

                languages, voices = self.spoken_values(response)
                assert languages <= set(self.known_languages())
                assert all(table.has_voice(name, spoken_language) for name in voices)

    def _replies(
        self, adapter: TelephonyAdapter, language: str | None, voice: str | None
    ) -> Iterator[CallReply]:
        yield CallReply((Say("Hello.", language, voice), Listen(5, language)), STATE)
        if adapter.capabilities.relay:
            relay = Relay("wss://voice.example.com", "token", "Hello.", language, voice)
            yield CallReply((relay,), STATE)

    def _require_table(self) -> LanguageTable:
        table = self.adapter_class.capabilities.languages
        if table is None:
            pytest.skip("this carrier speaks every language")
        return table
