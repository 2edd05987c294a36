"""Turns of ordinary calls in several languages, with many numbers that are not telephone numbers.

They have prices, times, dates, orders, addresses and ages, in digits and in words, and telephone
numbers of other people that begin like a given one.
"""

from collections.abc import Iterator
from random import Random

from tests.support.spoken_numbers import HUNDRED_SPELLERS, PAIR_SPELLERS, spellings

# {t}: time, {d}: date, {p}: price, {n}: number below 100, {h}: number below 1,000, {w}: number in
# words, {x}: number of hundreds in words, {o}: order, {y}: year, {z}: postcode.
_TEMPLATES = {
    "en": (
        "I would like to come at {t} on {d}, or at {t} if that is better.",
        "The order number is {o}, it cost {p} and I paid {p} on {d}.",
        "We live at {h} West {n}th Street, apartment {n}, New York {z}.",
        "My daughter is {w} and my son is {w}, and I am {w}.",
        "Between {t} and {t} I am at work, so call me on the {n}th or the {n}th after {t}.",
        "It took {w} to {w} days, {x} dollars, and one or two visits for three of us.",
        "I waited {n} minutes and {n} seconds for {n} people, no wait, {n} or {n}.",
        "One on one lessons are {p}, for two it is {p}, and for four to eight it is {x}.",
        "Invoice {o} of {d}: {n} x {p} = {p}, due {d} at {t}, reference {h}-{h}-{h}.",
        "It was {y}, then {y}, I think the {w} of May {y}, at {w} {w} in the morning.",
        "Policy {o}, claim {o}, and the adjuster said {x} or maybe {x}.",
        "Flight {h} leaves gate {n} at {t}, flight {h} at {t} from gate {n}.",
    ),
    "de": (
        "Ich komme am {d} um {t} oder um {w} Uhr {w}.",
        "Die Bestellung {o} kostet {p}, also {x} Euro und {w} Cent.",
        "Meine Tochter ist {w}, mein Sohn {w} und ich bin {w}.",
        "Hauptstraße {n}, {z} München, im {n}. Stock, Zimmer {h}.",
        "Von {t} bis {t} und von {t} bis {t}, am {n}. und am {n}.",
        "Das waren {w} oder {w} Tage, {x} Kilometer und {w} Stunden.",
    ),
    "fr": (
        "Je viens le {d} à {t} ou vers {w} heures {w}.",
        "La commande {o} coûte {p}, donc {x} euros et {w} centimes.",
        "J'ai {w} ans, ma fille a {w} ans et mon fils {w}.",
        "Au {n} rue de Rivoli, {z} Paris, entre {t} et {t}.",
        "C'est un ou deux jours, et puis {w} ou {w}, enfin {x}.",
    ),
    "es": (
        "Puedo ir el {d} a las {t} o a las {w} y {w}.",
        "El pedido {o} cuesta {p}, son {x} euros con {w}.",
        "Tengo {w} años y mi hija {w}, vivimos en la calle Mayor {n}, {z} Madrid.",
        "De {t} a {t} y de {t} a {t}, una o dos veces, {w} de mayo de {y}.",
    ),
    "it": (
        "Vengo il {d} alle {t} oppure alle {w} e {w}.",
        "L'ordine {o} costa {p}, ho {w} anni e mia figlia {w}.",
        "Via Roma {n}, {z} Milano, dalle {t} alle {t}, uno o due giorni.",
    ),
    "pt": (
        "Posso ir no dia {d} às {t} ou às {w} e {w}.",
        "O pedido {o} custa {p}, tenho {w} anos e meu filho {w}.",
    ),
    "nl": (
        "Ik kom op {d} om {t} of om {w} uur {w}.",
        "Bestelling {o} kost {p}, ik ben {w} en mijn dochter {w}.",
    ),
}
HAND_WRITTEN = (
    "I'm 42, she's 39, the kids are 7, 9 and 12, and we need a table for 5 at 19:30 on 12/24.",
    "Take bus 415 to 55 Main Street, then 5 stops, gate 01, seat 23.",
    "From 4:15 to 5:55 p.m., 50 people, room 12, third floor.",
    "One, two, three, testing. One two three four five six seven eight nine ten.",
    "Two for one, four for three, to go, please. Oh, and one for me too.",
    "It is 20 7 9 a.m. or so, I have no idea, oh well.",
    "My IBAN is DE89 3704 0044 0532 0130 00 and my tax number is 12 345 678 901.",
    "Version 2.0.7.9 of 2026-11-30T11:02:51Z, id 5ca1ab1e-0000-4000-8000-0000000000ff.",
    "We won one to nothing, then lost two to three, and ate at eight.",
    "Heute um eins oder um zwei, am elften elften, elf Uhr elf.",
    "Un, deux, trois, nous irons au bois; quatre, cinq, six, cueillir des cerises.",
    "Lotto: 4, 15, 23, 31, 42 und Zusatzzahl 7. Superzahl 0.",
    "The score was 21 to 19, 15 to 21, 21 to 12, and the set took 55 minutes 50 seconds.",
    "一二三四五六七八九十。",
    "四月十五日五点五十五分,五楼零一二室。",
    "С одного до двух, первого января, двадцать пять рублей, сорок копеек.",
    "It is minus 4, feels like 15, wind 5 to 5.5, humidity 50 percent, pressure 1023.",
)


def ordinary_turns(count: int, *, other_prefixes: tuple[str, ...], rng: Random) -> Iterator[str]:
    """Yield turns; one in five has a telephone number that begins with one of the prefixes."""
    for position in range(count):
        if position % 5 == 0:
            prefix = rng.choice(other_prefixes)
            length = 10 if len(prefix) > 5 else 7
            number = prefix + "".join(rng.choice("0123456789") for _ in range(length - len(prefix)))
            other = rng.choice(spellings(number, rng=rng))
            yield f"Please call {other.text} {rng.choice(('', 'at ' + _time(rng), 'ext. 12'))}"
        elif position % 50 == 1:
            yield rng.choice(HAND_WRITTEN)
        else:
            language = rng.choice(tuple(_TEMPLATES))
            yield _fill(rng.choice(_TEMPLATES[language]), language, rng)


def _fill(template: str, language: str, rng: Random) -> str:
    parts = template.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        kind, _, rest = part.partition("}")
        filled += [_value(kind, language, rng), rest]
    return "".join(filled)


def _value(kind: str, language: str, rng: Random) -> str:
    match kind:
        case "t":
            return _time(rng)
        case "d":
            return rng.choice(("{0:02}/{1:02}/{2}", "{0}.{1}.{2}", "{2}-{1:02}-{0:02}")).format(
                rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2030)
            )
        case "p":
            return f"{rng.choice('$€£')}{rng.randint(1, 4000):,}.{rng.randint(0, 99):02}"
        case "n":
            return str(rng.randint(1, 99))
        case "h":
            return str(rng.randint(100, 999))
        case "w":
            return PAIR_SPELLERS[language](str(rng.randint(0, 99)))
        case "x":
            return HUNDRED_SPELLERS.get(language, HUNDRED_SPELLERS["en"])(rng.randint(100, 999))
        case "o":
            return "".join(rng.choice("0123456789") for _ in range(rng.randint(4, 12)))
        case "y":
            return str(rng.randint(1950, 2030))
        case _:
            return f"{rng.randint(1, 99_999):05}"


def _time(rng: Random) -> str:
    return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02}"
