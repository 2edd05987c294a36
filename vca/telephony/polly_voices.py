"""The voices of Amazon Polly, which several carriers offer.

Source: "Available voices" in the Amazon Polly Developer Guide, read in November 2026. Update the
table when Amazon adds voices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Engine = Literal["standard", "neural", "generative"]

# By locale, each name with its engines: s standard, n neural, g generative.
_TABLE = """
ar-AE Hala:n Zayd:n
arb Zeina:s
ca-ES Arlet:n
cmn-CN Zhiyu:sn
cs-CZ Jitka:n
cy-GB Gwyneth:s
da-DK Sofie:n Naja:s Mads:s
de-AT Hannah:n
de-CH Sabrina:n
de-DE Vicki:sng Daniel:ng Marlene:s Hans:s
en-AU Olivia:ng Nicole:s Russell:s
en-GB Amy:sng Emma:sn Brian:sn Arthur:n Geraint:s
en-IE Niamh:n
en-IN Kajal:ng Aditi:s Raveena:s
en-NZ Aria:n
en-SG Jasmine:n
en-US Joanna:sng Danielle:ng Ruth:ng Stephen:ng Matthew:sng Salli:sn Kendra:sn Kimberly:sn Ivy:sn \
Joey:sn Justin:sn Kevin:n Gregory:n
en-ZA Ayanda:ng
es-ES Lucia:sng Sergio:ng Conchita:s Enrique:s
es-MX Mia:sng Andres:ng
es-US Lupe:sng Pedro:ng Penelope:s Miguel:s
fi-FI Suvi:n
fr-BE Isabelle:n
fr-CA Gabrielle:n Liam:n Chantal:s
fr-FR Lea:sng Remi:ng Celine:s Mathieu:s
is-IS Dora:s Karl:s
it-IT Bianca:sng Adriano:n Carla:s Giorgio:s
ja-JP Tomoko:n Kazuha:n Takumi:sn Mizuki:s
ko-KR Seoyeon:sn Jihye:n
nb-NO Ida:n Liv:s
nl-BE Lisa:n
nl-NL Laura:n Lotte:s Ruben:s
pl-PL Ola:n Ewa:s Maja:s Jacek:s Jan:s
pt-BR Camila:sn Vitoria:sn Thiago:n Ricardo:s
pt-PT Ines:sn Cristiano:s
ro-RO Carmen:s
ru-RU Tatyana:s Maxim:s
sv-SE Elin:n Astrid:s
tr-TR Burcu:n Filiz:s
yue-CN Hiujin:n
"""
_ENGINES: Mapping[str, Engine] = {"s": "standard", "n": "neural", "g": "generative"}
_SUFFIXES: Mapping[str, Engine] = {"": "standard", "neural": "neural", "generative": "generative"}
# Voices with a second language.
_BILINGUAL = {"Aditi": ("en-IN", "hi-IN"), "Kajal": ("en-IN", "hi-IN")}


@dataclass(frozen=True)
class PollyVoice:
    """A voice with one of its engines. `locales` are Amazon's tags, the main one first."""

    name: str
    engine: Engine
    locales: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name with the engine, as carriers write it: `Joanna`, `Joanna-Neural`."""
        suffix = "" if self.engine == "standard" else f"-{self.engine.title()}"
        return f"{self.name}{suffix}"


def _parse_table() -> dict[tuple[str, Engine], PollyVoice]:
    voices = {}
    for line in _TABLE.split("\n"):
        locale, *entries = line.split() or [""]
        for name, _, letters in (entry.partition(":") for entry in entries):
            for letter in letters:
                engine = _ENGINES[letter]
                locales = _BILINGUAL.get(name, (locale,))
                voices[name.lower(), engine] = PollyVoice(name, engine, locales)
    return voices


_VOICES = _parse_table()
VOICES = tuple(_VOICES.values())


def find_polly_voice(label: str) -> PollyVoice | None:
    """Return the voice with this label, such as `joanna-neural` in any case, or None."""
    name, _, suffix = label.lower().partition("-")
    engine = _SUFFIXES.get(suffix)
    return _VOICES.get((name, engine)) if engine is not None else None
