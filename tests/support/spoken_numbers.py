"""A grammar of the ways in which people say a telephone number, and speech recognition writes it.

The words are written down here a second time, so that an error in the product's tables is noticed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Speller = Callable[[str], str]

_UNITS = {
    "en": "zero one two three four five six seven eight nine",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "pt": "zero um dois três quatro cinco seis sete oito nove",
    "nl": "nul een twee drie vier vijf zes zeven acht negen",
    "sv": "noll ett två tre fyra fem sex sju åtta nio",
    "da": "nul en to tre fire fem seks syv otte ni",
    "nb": "null en to tre fire fem seks sju åtte ni",
    "fi": "nolla yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän",
    "pl": "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć",
    "cs": "nula jedna dva tři čtyři pět šest sedm osm devět",
    "ro": "zero unu doi trei patru cinci șase șapte opt nouă",
    "hu": "nulla egy kettő három négy öt hat hét nyolc kilenc",
    "tr": "sıfır bir iki üç dört beş altı yedi sekiz dokuz",
    "el": "μηδέν ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα",
    "ru": "ноль один два три четыре пять шесть семь восемь девять",
    "uk": "нуль один два три чотири п'ять шість сім вісім дев'ять",
    "hi": "शून्य एक दो तीन चार पाँच छह सात आठ नौ",
    "ar": "صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة",
    "he": "אפס אחת שתיים שלוש ארבע חמש שש שבע שמונה תשע",
    "id": "nol satu dua tiga empat lima enam tujuh delapan sembilan",
    "vi": "không một hai ba bốn năm sáu bảy tám chín",
    "ja": "ゼロ いち に さん よん ご ろく なな はち きゅう",
    "zh": "零 一 二 三 四 五 六 七 八 九",
    "ko": "공 일 이 삼 사 오 육 칠 팔 구",
    "th": "ศูนย์ หนึ่ง สอง สาม สี่ ห้า หก เจ็ด แปด เก้า",
}
_TEENS = {
    "en": "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    "de": "zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn",
    "fr": "dix onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf",
    "es": "diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve",
    "it": "dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove",
    "pt": "dez onze doze treze catorze quinze dezesseis dezessete dezoito dezenove",
    "nl": "tien elf twaalf dertien veertien vijftien zestien zeventien achttien negentien",
}
_TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "vingt trente quarante cinquante soixante",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "nl": "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
}
_SPANISH_TWENTIES = (
    "veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho "
    "veintinueve"
)
_SPANISH_HUNDREDS = (
    "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos "
    "novecientos"
)
_UNSPACED = ("ja", "zh", "ko", "th")
DIGIT_LANGUAGES = tuple(_UNITS)
_HESITATIONS = {
    "en": ("uh,", "um", "then", "and", "dash", "that's", "and then", "area code"),
    "de": ("äh", "dann", "und dann", "Strich"),
    "fr": ("euh", "puis", "et puis", "tiret"),
    "es": ("eh", "luego", "y después", "guion"),
    "it": ("ehm", "poi", "e poi", "trattino"),
    "pt": ("hum", "depois", "e depois", "traço"),
    "nl": ("eh", "dan", "en dan", "streepje"),
}
# The first code point of the decimal digits of some scripts.
_SCRIPTS = {"full-width": 0xFF10, "Arabic": 0x660, "Persian": 0x6F0, "Devanagari": 0x966}
_SEPARATORS = (
    " ", ", ", ",", ". ", ".", " - ", "-", "  -  ", "_", "…", "... ", " … ", "\n", " / ", "; ",
    "\u00a0", "\u2011", " \u2013 ", ") ", " (", "·", ",\n", "  ", "\u200b", "、", "，",
)  # fmt: skip


@dataclass(frozen=True)
class Spelling:
    """A spelling of a number, and its style."""

    number: str
    text: str
    style: str


def spellings(number: str, *, rng: Random) -> list[Spelling]:
    """Return a spelling of the number, which is all digits, in every style of the grammar."""
    styles = [
        *((f"digits {name}", _join(rng, _groups(rng, number))) for name in ("a", "b", "c")),
        ("single digits", rng.choice(_SEPARATORS).join(number)),
        *((name, _in_script(number, zero, rng)) for name, zero in _SCRIPTS.items()),
        *((f"words {name}", digit_by_digit(number, name, rng)) for name in DIGIT_LANGUAGES),
        *((f"pairs {name}", _in_pairs(number, name, rng)) for name in PAIR_SPELLERS),
        *((f"triples {name}", _in_triples(number, name, rng)) for name in HUNDRED_SPELLERS),
        *((f"pauses {name}", _with_pauses(number, name, rng)) for name in _HESITATIONS),
        ("oh", digit_by_digit(number, "en", rng).replace("zero", rng.choice(("oh", "o")))),
        ("double", _doubled(number, rng)),
        ("mixed", _mixed(number, rng)),
        ("upper case", digit_by_digit(number, "en", rng).upper()),
    ]
    return [Spelling(number, text, style) for style, text in styles]


def _groups(rng: Random, number: str) -> list[str]:
    groups, start = [], 0
    while start < len(number):
        size = rng.choice((1, 2, 3, 3, 4))
        groups.append(number[start : start + size])
        start += size
    return groups


def _join(rng: Random, groups: Sequence[str]) -> str:
    """Join groups, usually with the same separator."""
    separator = rng.choice(_SEPARATORS)
    parts = [groups[0]]
    for group in groups[1:]:
        parts += [separator if rng.random() < 0.7 else rng.choice(_SEPARATORS), group]
    return "".join(parts)


def _in_script(number: str, zero: int, rng: Random) -> str:
    return _join(rng, _groups(rng, "".join(chr(zero + int(digit)) for digit in number)))


def digit_by_digit(number: str, language: str, rng: Random) -> str:
    """Say each digit, with a pause between groups."""
    words = _UNITS[language].split()
    separator = "" if language in _UNSPACED else " "
    groups = _groups(rng, number)
    parts = [separator.join(words[int(digit)] for digit in group) for group in groups]
    return _pause_between_groups(parts, rng)


def _pause_between_groups(parts: Sequence[str], rng: Random) -> str:
    separator = rng.choice((" ", ", ", ". ", "... ", " - ", "\n"))
    return separator.join(parts)


def _with_pauses(number: str, language: str, rng: Random) -> str:
    words = _UNITS[language].split()
    parts = []
    for group in _groups(rng, number):
        is_in_words = rng.random() < 0.5
        parts.append(" ".join(words[int(digit)] for digit in group) if is_in_words else group)
        parts.append(rng.choice(_HESITATIONS[language]))
    return " ".join(parts[:-1])


def _doubled(number: str, rng: Random) -> str:
    """Say repeated digits with "double" and "triple"."""
    words, parts, position = _UNITS["en"].split(), [], 0
    while position < len(number):
        count = 1
        while count < 3 and number[position : position + count + 1] == number[position] * (
            count + 1
        ):
            count += 1
        word = number[position] if rng.random() < 0.3 else words[int(number[position])]
        parts.append(f"{('', '', 'double ', 'triple ')[count]}{word}")
        position += count
    return " ".join(parts)


def _mixed(number: str, rng: Random) -> str:
    words = _UNITS["en"].split()
    return " ".join(digit if rng.random() < 0.5 else words[int(digit)] for digit in number)


def _in_pairs(number: str, language: str, rng: Random) -> str:
    """Say two digits as one number; a pair that begins with zero is said digit by digit."""
    zero = _UNITS[language].split()[0]
    parts = []
    if len(number) % 2:
        parts.append(PAIR_SPELLERS[language](number[0]))
        number = number[1:]
    for start in range(0, len(number), 2):
        pair = number[start : start + 2]
        spoken = PAIR_SPELLERS[language](str(int(pair)))
        parts.append(f"{zero} {spoken}" if pair[0] == "0" else spoken)
    return _pause_between_groups(parts, rng)


def _in_triples(number: str, language: str, rng: Random) -> str:
    """Say three digits as one number, and the rest digit by digit."""
    words = _UNITS[language].split()
    parts = []
    for start in range(0, len(number), 3):
        group = number[start : start + 3]
        if len(group) == 3 and group[0] != "0":
            parts.append(HUNDRED_SPELLERS[language](int(group)))
        else:
            parts += [words[int(digit)] for digit in group]
    return _pause_between_groups(parts, rng)


def _below_twenty_and_ten(language: str, value: str) -> tuple[str, str, int]:
    """Return (the name of a number below 20, the name of its ten, its unit)."""
    number = int(value)
    names = f"{_UNITS[language]} {_TEENS[language]}".split()
    if number < 20:
        return names[number], "", 0
    return "", _TENS[language].split()[number // 10 - 2], number % 10


def _english(value: str) -> str:
    name, ten, unit = _below_twenty_and_ten("en", value)
    return name or ten + (f"-{_UNITS['en'].split()[unit]}" if unit else "")


def _german(value: str) -> str:
    name, ten, unit = _below_twenty_and_ten("de", value)
    unit_name = "ein" if unit == 1 else _UNITS["de"].split()[unit]
    return name or (f"{unit_name}und{ten}" if unit else ten)


def _french(value: str) -> str:
    number = int(value)
    names = f"{_UNITS['fr']} {_TEENS['fr']}".split()
    if number < 20:
        return names[number]
    if number < 70:
        name, unit = _TENS["fr"].split()[number // 10 - 2], number % 10
        return name if unit == 0 else f"{name} et un" if unit == 1 else f"{name}-{names[unit]}"
    if number < 80:
        return "soixante et onze" if number == 71 else f"soixante-{names[number - 60]}"
    return "quatre-vingts" if number == 80 else f"quatre-vingt-{names[number - 80]}"


def _spanish(value: str) -> str:
    if 20 < int(value) < 30:
        return _SPANISH_TWENTIES.split()[int(value) - 21]
    name, ten, unit = _below_twenty_and_ten("es", value)
    return name or (f"{ten} y {_UNITS['es'].split()[unit]}" if unit else ten)


def _italian(value: str) -> str:
    name, ten, unit = _below_twenty_and_ten("it", value)
    if name or unit == 0:
        return name or ten
    stem = ten[:-1] if unit in (1, 8) else ten
    return stem + ("tré" if unit == 3 else _UNITS["it"].split()[unit])


def _portuguese(value: str) -> str:
    name, ten, unit = _below_twenty_and_ten("pt", value)
    return name or (f"{ten} e {_UNITS['pt'].split()[unit]}" if unit else ten)


def _dutch(value: str) -> str:
    name, ten, unit = _below_twenty_and_ten("nl", value)
    joiner = "ën" if unit in (2, 3) else "en"
    return name or (f"{_UNITS['nl'].split()[unit]}{joiner}{ten}" if unit else ten)


PAIR_SPELLERS: dict[str, Speller] = {
    "en": _english,
    "de": _german,
    "fr": _french,
    "es": _spanish,
    "it": _italian,
    "pt": _portuguese,
    "nl": _dutch,
}


def _english_hundreds(number: int) -> str:
    rest = number % 100
    return f"{_english(str(number // 100))} hundred" + (f" {_english(str(rest))}" if rest else "")


def _german_hundreds(number: int) -> str:
    first = number // 100
    start = "ein" if first == 1 else _german(str(first))
    return f"{start}hundert" + (_german(str(number % 100)) if number % 100 else "")


def _french_hundreds(number: int) -> str:
    first, rest = divmod(number, 100)
    start = "cent" if first == 1 else f"{_french(str(first))} cent"
    return f"{start} {_french(str(rest))}" if rest else start


def _spanish_hundreds(number: int) -> str:
    first, rest = divmod(number, 100)
    if number == 100:
        return "cien"
    return _SPANISH_HUNDREDS.split()[first - 1] + (f" {_spanish(str(rest))}" if rest else "")


HUNDRED_SPELLERS: dict[str, Callable[[int], str]] = {
    "en": _english_hundreds,
    "de": _german_hundreds,
    "fr": _french_hundreds,
    "es": _spanish_hundreds,
}
