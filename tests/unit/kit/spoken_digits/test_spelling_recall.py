"""Numbers are found in the spellings that a grammar generates, and others are not."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.spoken_numbers import DIGIT_LANGUAGES, Spelling, digit_by_digit, spellings
from vca.kit.spoken_digits import LANGUAGE_CODES, find_numbers

_SEED = 20_261_130
_NUMBERS = (
    "4155550123",
    "2079460018",
    "612345678",
    "15901234567",
    "911223344",
    "3331234567",
    "85245450000",
    "70700800",
    "912009012",
    "8005550100",
    "2125557788",
    "1000000001",
)
_CONTEXTS = (
    "{}",
    "My number is {}.",
    "please call {} tomorrow, thanks",
    "Meine Nummer lautet {}, danke!",
    "Me puede llamar al {} gracias",
    "(tel. {})",
    "Rappelez-moi au {} merci",
)


def _all_spellings() -> list[Spelling]:
    rng = Random(_SEED)
    return [spelling for number in _NUMBERS for spelling in spellings(number, rng=rng)]


def test_at_least_99_of_100_generated_spellings_are_found() -> None:
    rng = Random(_SEED + 1)
    missed: list[Spelling] = []
    all_spellings = _all_spellings()

    for spelling in all_spellings:
        text = rng.choice(_CONTEXTS).format(spelling.text)
        spans = find_numbers(text, [spelling.number])
        if len(spans) != 1 or spelling.text not in text[spans[0].start : spans[0].end]:
            missed.append(spelling)

    assert len({spelling.text for spelling in all_spellings}) >= 600
    recall = 1 - len(missed) / len(all_spellings)
    assert recall >= 0.99, Counter(spelling.style for spelling in missed)


def test_a_number_that_differs_in_one_digit_is_hardly_ever_found() -> None:
    """A spelling has several readings: "five hundred" is also 5, 100."""
    matches, attempts = [], 0
    for spelling in _all_spellings():
        for position in range(len(spelling.number)):
            digit = (int(spelling.number[position]) + 1) % 10
            other = f"{spelling.number[:position]}{digit}{spelling.number[position + 1 :]}"
            attempts += 1
            if find_numbers(spelling.text, [other]):
                matches.append((spelling, other))

    assert attempts > 6_000
    assert len(matches) <= attempts // 500, matches


def test_every_language_of_the_grammar_has_a_table() -> None:
    assert set(DIGIT_LANGUAGES) == LANGUAGE_CODES


@pytest.mark.parametrize(
    "text",
    [
        "415, 555, 0123",
        "4 1 5, 5 5 5, 0 1 2 3",
        "four one five five five five zero one two three",
        "415 555 oh 123",
        "415  -  555  -  0123",
        "415_555_0123",
        "415…555…0123",
        "４１５ ５５５ ０１２３",
        "٤١٥ ٥٥٥ ٠١٢٣",
        "four fifteen fifty-five fifty oh one twenty-three",
        "four hundred and fifteen, triple five, oh one two three",
        "four one five three fives oh one two three",
        "fourfifteen fiftyfive five zero twelve three",
        "four one five double five five o one two three",
        "4,155,550,123",
        "415 that's the area code, and then 555 and 0123",
        "415 and the rest is 555 0123",
        "415 [pause] 555 (inaudible) 0123",
        "four one five hang on, five five five, zero one two three",
        "four hundred and fifteen five hundred and fifty five oh a hundred and twenty three",
        "fire hundrede femten, fem femoghalvtreds, nul en treogtyve",
        "dört bir bes bes bes bes sifir bir iki uc",
        "neljä yksi viisi viisi viisi viisi nolla yksi kaksikymmentäkolme",
        "fyra ett fem femhundrafemtiofem noll ett tjugotre",
        "fire en fem fem femtifem null en tjuetre",
        "quattrocentoquindici cinquecentocinquantacinque zero uno ventitré",
        "for won five five five five oh won to tree",
        "4️⃣1️⃣5️⃣ 555 0123",
        "④①⑤ ⑤⑤⑤ ⓪①②③",
        "quatre cent quinze, cinq cent cinquante-cinq, zéro un vingt-trois",
        "vierhundertfünfzehn fünfhundertfünfundfünfzig null eins zwo drei",
        "vier eins fu\u0308nf fu\u0308nf fu\u0308nf fu\u0308nf null eins zwei drei",
        "四一五五五五零幺二三",
        "четыреста пятнадцать, пятьсот пятьдесят пять, ноль один, двадцать три",
        "أربعة واحد خمسة خمسة خمسة خمسة صفر ١ ٢ ٣",
        "फोर वन फाइव डबल फाइव फाइव जीरो वन टू थ्री",
    ],
)
def test_a_spelling_of_speech_recognition_is_found(text: str) -> None:
    [span] = find_numbers(f"Call {text} please", ["4155550123"])

    assert f"Call {text} please"[span.start : span.end] == text


@pytest.mark.parametrize(
    "text",
    [
        "14155550123",
        "41555501234",
        "415 555 012",
        "415 or 555 0123",
        "415 555 Main Street 0123",
        "four one five five five five zero one two",
        "5ca1ab1e-0000-4000-8000-0000000000ff",
        "",
    ],
)
def test_another_number_is_not_found(text: str) -> None:
    assert find_numbers(text, ["4155550123"]) == []


@pytest.mark.parametrize(
    "unit",
    [
        "4",
        "4 ",
        "41555",
        "four ",
        "hundred ",
        "twenty and ",
        "double ",
        "ein und ",
        "quatre vingt ",
        "einundzwanzig",
        "x",
        "x1",
        "和",
        "한일",
        "- ",
        "\u0301",
    ],
)
def test_a_long_repetitive_text_takes_time_in_proportion_to_its_length(unit: str) -> None:
    """With a search that goes back, this would take hours."""
    numbers = ["4155550123", "4" * 15, "2020202020", "0" * 10, "808080808080"]

    assert find_numbers(f"{unit * 20_000} or 4155550123", numbers)[-1].number == "4155550123"


@given(
    st.lists(st.sampled_from("0123456789"), min_size=8, max_size=15).map("".join),
    st.sampled_from(DIGIT_LANGUAGES),
    st.text(max_size=20),
)
def test_any_number_is_found_in_any_language_within_any_text(
    number: str, language: str, text: str
) -> None:
    spelling = digit_by_digit(number, language, Random(number))

    spans = find_numbers(f"{text} or {spelling} or {text}", [number])

    assert spans


@given(st.text(max_size=200))
def test_a_text_without_digits_of_the_number_has_no_span(text: str) -> None:
    for span in find_numbers(text, ["98765432109876"]):
        assert 0 <= span.start < span.end <= len(text)


def test_a_number_within_more_digits_of_its_passage_is_not_alone() -> None:
    [isolated] = find_numbers("ring me on 540 1234, ok", ["5401234"])
    [within] = find_numbers("415 540 1234", ["5401234"])
    [in_words] = find_numbers("four one five, five four oh one two three four", ["5401234"])

    assert (isolated.is_isolated, within.is_isolated, in_words.is_isolated) == (True, False, False)
