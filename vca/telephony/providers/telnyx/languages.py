"""Telnyx's languages and voices, for commands of call control and for Conversation Relay.

Sources: the types of the Telnyx Python SDK 4.189.0 (`GoogleTranscriptionLanguage`, and the formats
of `voice` in `ActionSpeakParams`), and for the languages of the multilingual voice "Language and
voice support" of Azure AI Speech, both read in November 2026. A voice decides on the language that
it speaks, so the commands name no language for speech.
"""

import re
from functools import lru_cache

from vca.telephony import polly_voices
from vca.telephony.languages import DEFAULT_LANGUAGE, LanguageTable, LanguageValues, Voice

# The languages of Google's speech recognition: Telnyx takes no regions. `iw` and `no` are codes of
# its own.
_RECOGNITION_VALUES = """
af am ar az bg bn bs ca cs da de el en es et eu fa fi fil fr gl gu hi hr hu hy id is it iw ja jv ka
kk km kn ko lo lt lv mk ml mn mr ms my ne nl no pa pl pt ro ru rw si sk sl sq sr ss st su sv sw ta
te th tn tr ts uk ur uz ve vi xh yue zh zu
"""
# The voice of each language, and of regions where the accent differs.
_CHOSEN_VOICES = {
    "ar": "AWS.Polly.Hala-Neural",
    "ca": "AWS.Polly.Arlet-Neural",
    "cs": "AWS.Polly.Jitka-Neural",
    "da": "AWS.Polly.Sofie-Neural",
    "de": "AWS.Polly.Vicki-Neural",
    "de-AT": "AWS.Polly.Hannah-Neural",
    "de-CH": "AWS.Polly.Sabrina-Neural",
    "en": "AWS.Polly.Joanna-Neural",
    "en-AU": "AWS.Polly.Olivia-Neural",
    "en-GB": "AWS.Polly.Amy-Neural",
    "en-IE": "AWS.Polly.Niamh-Neural",
    "en-IN": "AWS.Polly.Kajal-Neural",
    "en-NZ": "AWS.Polly.Aria-Neural",
    "en-SG": "AWS.Polly.Jasmine-Neural",
    "en-ZA": "AWS.Polly.Ayanda-Neural",
    "es": "AWS.Polly.Lucia-Neural",
    "es-MX": "AWS.Polly.Mia-Neural",
    "es-US": "AWS.Polly.Lupe-Neural",
    "fi": "AWS.Polly.Suvi-Neural",
    "fr": "AWS.Polly.Lea-Neural",
    "fr-BE": "AWS.Polly.Isabelle-Neural",
    "fr-CA": "AWS.Polly.Gabrielle-Neural",
    "gu": "Azure.gu-IN-DhwaniNeural",
    "hi": "AWS.Polly.Kajal-Neural",
    "it": "AWS.Polly.Bianca-Neural",
    "ja": "AWS.Polly.Tomoko-Neural",
    "ko": "AWS.Polly.Seoyeon-Neural",
    "mr": "Azure.mr-IN-AarohiNeural",
    "nb": "AWS.Polly.Ida-Neural",
    "nl": "AWS.Polly.Laura-Neural",
    "nl-BE": "AWS.Polly.Lisa-Neural",
    "pa": "Azure.pa-IN-VaaniNeural",
    "pl": "AWS.Polly.Ola-Neural",
    "pt": "AWS.Polly.Ines-Neural",
    "pt-BR": "AWS.Polly.Camila-Neural",
    "sv": "AWS.Polly.Elin-Neural",
    "tr": "AWS.Polly.Burcu-Neural",
    "yue": "AWS.Polly.Hiujin-Neural",
    "zh": "AWS.Polly.Zhiyu-Neural",
    "zh-HK": "AWS.Polly.Hiujin-Neural",
    "zh-TW": "AWS.Polly.Zhiyu-Neural",
}
# A voice for languages that have none of their own.
_MULTILINGUAL_VOICE = "Azure.en-US-BrianMultilingualNeural"
_MULTILINGUAL_LANGUAGES = """
af am az bg bn bs el et eu fa fil gl he hr hu hy id is jv ka kk km kn lo lt lv mk ml mn ms my ne ro
ru si sk sl sq sr su sw ta te th uk ur uz vi zu
"""
# Regions that Conversation Relay is given besides the bare languages.
_RELAY_LOCALES = """
af-ZA am-ET ar-AE ar-EG ar-SA az-AZ bg-BG bn-BD bn-IN bs-BA ca-ES cs-CZ da-DK de-AT de-CH de-DE
el-GR en-AU en-CA en-GB en-IE en-IN en-NZ en-SG en-US en-ZA es-ES es-MX es-US et-EE eu-ES fa-IR
fi-FI fil-PH fr-BE fr-CA fr-CH fr-FR gl-ES gu-IN he-IL hi-IN hr-HR hu-HU hy-AM id-ID is-IS it-IT
ja-JP jv-ID ka-GE kk-KZ km-KH kn-IN ko-KR lo-LA lt-LT lv-LV mk-MK ml-IN mn-MN mr-IN ms-MY my-MM
nb-NO ne-NP nl-BE nl-NL pa-IN pl-PL pt-BR pt-PT ro-RO ru-RU si-LK sk-SK sl-SI sq-AL sr-RS su-ID
sv-SE sw-KE ta-IN te-IN th-TH tr-TR uk-UA ur-PK uz-UZ vi-VN zh-CN zh-HK zh-TW zu-ZA
"""
_POLLY_VOICE = re.compile(r"(?:AWS\.)?Polly\.([A-Za-z]+(?:-Neural)?)", re.ASCII | re.IGNORECASE)
# `Azure.<locale>-<name>`: some names speak every language.
_AZURE_VOICE = re.compile(
    r"Azure\.([a-z]{2,3}-[A-Z]{2})-([A-Za-z0-9]{2,60}Neural|[A-Za-z0-9]{2,60}:[A-Za-z0-9]{2,60})",
    re.ASCII,
)
_AZURE_MULTILINGUAL = re.compile(r"Multilingual|:DragonHD")
# Voices of other providers speak several languages each, and are too many and too short-lived for a
# table: their form is checked, and the models where Telnyx lists them.
_OTHER_VOICES = re.compile(
    r"ElevenLabs(?:\.[\w-]{1,60}){1,2}"
    r"|Telnyx(?:\.[\w-]{1,60}){2}"
    r"|Mini[Mm]ax\.speech-(?:02-turbo|02-hd|2\.6-turbo|2\.8-turbo)\.[\w .()-]{1,60}"
    r"|Resemble\.Turbo\.[\w-]{1,60}"
    r"|Inworld\.(?:Mini|Max|TTS2)\.[\w-]{1,60}"
    r"|FishAudio\.(?:s2\.1-pro|s2-pro|s1)\.[\w-]{1,60}"
    r"|Soniox\.tts-rt-v2\.[\w-]{1,60}"
    r"|xAI\.(?:eve|ara|rex|sal|leo)",
    re.ASCII,
)
_HUMAIN_VOICES = {
    f"Humain.{name}-{language}": Voice(f"Humain.{name}-{language}", (language,))
    for name, language in (
        ("sara", "en"),
        ("abdulaziz", "en"),
        ("sara", "ar"),
        ("abdulaziz", "ar"),
        ("nourah", "ar"),
        ("abdullah", "ar"),
    )
}


def _find_voice(name: str) -> Voice | None:
    """Return the voice with this name. Twilio's names of Amazon voices count too."""
    if polly_name := _POLLY_VOICE.fullmatch(name):
        polly_voice = polly_voices.find_polly_voice(polly_name[1])
        return _amazon_voice(polly_voice) if polly_voice is not None else None
    if azure_name := _AZURE_VOICE.fullmatch(name):
        is_multilingual = _AZURE_MULTILINGUAL.search(azure_name[2])
        return Voice(name, () if is_multilingual else (azure_name[1],))
    if _OTHER_VOICES.fullmatch(name):
        return Voice(name)
    return _HUMAIN_VOICES.get(name)


def _amazon_voice(polly_voice: polly_voices.PollyVoice) -> Voice:
    return Voice(f"AWS.Polly.{polly_voice.label}", polly_voice.locales)


TABLE = LanguageTable(
    LanguageValues(
        {**{code: code for code in _RECOGNITION_VALUES.split()}, "zh-HK": "yue", "zh-TW": "zh"}
    ),
    LanguageValues(
        {**_CHOSEN_VOICES, **dict.fromkeys(_MULTILINGUAL_LANGUAGES.split(), _MULTILINGUAL_VOICE)}
    ),
    _find_voice,
    tuple(
        map(_amazon_voice, filter(lambda voice: voice.engine != "generative", polly_voices.VOICES))
    ),
)


_RELAY_TAGS = (*TABLE.speech.tags, *_RELAY_LOCALES.split())
RELAY_LANGUAGES = LanguageValues({tag: tag for tag in _RELAY_TAGS if TABLE.speaks(tag)})


@lru_cache(maxsize=1024)
def choose_voice(name: str | None, language: str | None) -> str:
    """Return the voice with that name if Telnyx has it and it speaks the language, else another.

    Telnyx says nothing with a name that it does not know.
    """
    spoken = language if TABLE.speech.nearest_tag(language) else DEFAULT_LANGUAGE
    voice = TABLE.choose_voice(name, spoken)
    return voice.name if voice is not None else TABLE.speech.choose(spoken)


def recognition_language(language: str | None) -> str:
    """Return the language for transcription; English if it is not supported."""
    return TABLE.recognition.choose(language)


def relay_language(language: str | None) -> str:
    """Return the language for Conversation Relay, a BCP 47 tag for recognition and speech."""
    return RELAY_LANGUAGES.choose(language)
