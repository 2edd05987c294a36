"""Map a profile's voice and language to Telnyx's names."""

import re

# Telnyx prefixes a voice with its provider. Twilio's names of Amazon voices are accepted as well.
_TELNYX_VOICE = re.compile(
    r"(?:AWS|Azure|ElevenLabs|FishAudio|Humain|Inworld|Minimax|Resemble|Soniox|Telnyx|xAI)"
    r"\.[A-Za-z0-9_.:-]{1,100}",
    re.ASCII,
)
_POLLY_VOICE = re.compile(r"Polly\.[A-Za-z]{2,20}(?:-Neural)?", re.ASCII)
# A voice that speaks every language.
_MULTILINGUAL_VOICE = "Azure.en-US-BrianMultilingualNeural"
# By language, and by language and region where the accent differs.
_VOICES = {
    "ar": "AWS.Polly.Hala-Neural",
    "ca": "AWS.Polly.Arlet-Neural",
    "cs": "AWS.Polly.Jitka-Neural",
    "da": "AWS.Polly.Sofie-Neural",
    "de": "AWS.Polly.Vicki-Neural",
    "de-at": "AWS.Polly.Hannah-Neural",
    "en": "AWS.Polly.Joanna-Neural",
    "en-au": "AWS.Polly.Olivia-Neural",
    "en-gb": "AWS.Polly.Amy-Neural",
    "en-in": "AWS.Polly.Kajal-Neural",
    "es": "AWS.Polly.Lucia-Neural",
    "es-mx": "AWS.Polly.Mia-Neural",
    "es-us": "AWS.Polly.Lupe-Neural",
    "fi": "AWS.Polly.Suvi-Neural",
    "fr": "AWS.Polly.Lea-Neural",
    "fr-ca": "AWS.Polly.Gabrielle-Neural",
    "hi": "AWS.Polly.Kajal-Neural",
    "it": "AWS.Polly.Bianca-Neural",
    "ja": "AWS.Polly.Tomoko-Neural",
    "ko": "AWS.Polly.Seoyeon-Neural",
    "nb": "AWS.Polly.Ida-Neural",
    "nl": "AWS.Polly.Laura-Neural",
    "no": "AWS.Polly.Ida-Neural",
    "pl": "AWS.Polly.Ola-Neural",
    "pt": "AWS.Polly.Ines-Neural",
    "pt-br": "AWS.Polly.Camila-Neural",
    "sv": "AWS.Polly.Elin-Neural",
    "tr": "AWS.Polly.Burcu-Neural",
    "zh": "AWS.Polly.Zhiyu-Neural",
}
# Languages that have another code in Google's speech recognition.
_RECOGNITION_ALIASES = {"he": "iw", "nb": "no", "nn": "no", "tl": "fil", "cmn": "zh"}
_RECOGNITION_LANGUAGES = frozenset(
    re.findall(
        "[a-z]+",
        "af am ar az bg bn bs ca cs da de el en es et eu fa fi fil fr gl gu hi hr hu hy id is it iw"
        " ja jv ka kk km kn ko lo lt lv mk ml mn mr ms my ne nl no pa pl pt ro ru rw si sk sl sq sr"
        " su sv sw ta te th tr uk ur uz vi xh yue zh zu",
    )
)


def choose_voice(name: str | None, language: str | None) -> str:
    """Return the voice with that name; if Telnyx does not have it, one that speaks the language.

    A profile's voice may be another carrier's, and Telnyx says nothing with a name that it does not
    know.
    """
    if name and _TELNYX_VOICE.fullmatch(name):
        return name
    if name and _POLLY_VOICE.fullmatch(name):
        return f"AWS.{name}"
    tag = (language or "en").lower()
    return _VOICES.get(tag) or _VOICES.get(tag.partition("-")[0]) or _MULTILINGUAL_VOICE


def recognition_language(language: str | None) -> str:
    """Return the language for speech recognition; English if it is not supported."""
    base = (language or "en").lower().partition("-")[0]
    base = _RECOGNITION_ALIASES.get(base, base)
    return base if base in _RECOGNITION_LANGUAGES else "en"
