"""Opening hours in words: days, times, holidays, and each language."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from babel import Locale

from vca.conversation import courtesy_words, opening_hours
from vca.conversation.hours_phrases import PHRASES
from vca.conversation.types import Holiday, MinuteSpan, OpeningHours, Schedule

MORNING: MinuteSpan = (9 * 60, 12 * 60)
AFTERNOON: MinuteSpan = (13 * 60, 17 * 60)
EVENING: MinuteSpan = (22 * 60, 28 * 60)
WHOLE_DAY: MinuteSpan = (0, 24 * 60)
OFFICE = (MORNING, AFTERNOON)
WEEK = (OFFICE, OFFICE, OFFICE, OFFICE, OFFICE, (), ())
CHRISTMAS = Holiday(date(2026, 12, 25), (), "Christmas")
CHRISTMAS_EVE = Holiday(date(2026, 12, 24), (MORNING,))
BERLIN = ZoneInfo("Europe/Berlin")
MONDAY_MORNING = datetime(2026, 11, 30, 9, 0, tzinfo=BERLIN)


def describe(
    *days: tuple[MinuteSpan, ...], holidays: tuple[Holiday, ...] = (), language: str = "en"
) -> str:
    return opening_hours.describe_schedule(Schedule(days or None, holidays), language)


def describe_state(
    *, is_open: bool = False, opens_at: datetime | None = MONDAY_MORNING, language: str = "en"
) -> str:
    hours = OpeningHours(Schedule(WEEK), "Europe/Berlin", is_open, opens_at)
    return opening_hours.describe_state(hours, language)


@pytest.mark.parametrize(
    ("language", "expected_text"),
    [
        (
            "en-US",
            "Monday to Friday: 9:00 AM to 12:00 PM and 1:00 PM to 5:00 PM. "
            "Saturday and Sunday: closed.",
        ),
        ("en-GB", "Monday to Friday: 09:00 to 12:00 and 13:00 to 17:00. Saturday and "),
        (
            "de",
            "Montag bis Freitag: 09:00 bis 12:00 Uhr und 13:00 bis 17:00 Uhr. "
            "Samstag und Sonntag: geschlossen.",
        ),
        ("fr", "Du lundi au vendredi : de 09:00 à 12:00 et de 13:00 à 17:00. Samedi et "),
        ("es-MX", "De lunes a viernes: de 9:00 a.m. a 12:00 p.m. y de 1:00 p.m. a 5:00 p.m. S"),
        ("pl", "Od poniedziałku do piątku: od 09:00 do 12:00 i od 13:00 do 17:00. Sobota i "),
        ("ru", "С понедельника по пятницу: с 09:00 до 12:00 и с 13:00 до 17:00. Суббота и "),
        ("hu", "Hétfőtől péntekig: 9:00 órától 12:00 óráig és 13:00 órától 17:00 óráig. "),
        (
            "ja",
            "月曜日から金曜日まで：9:00から12:00まで、13:00から17:00まで。土曜日、日曜日：休業。",
        ),
        (
            "zh-TW",
            "星期一至星期五：上午9:00至中午12:00和下午1:00至下午5:00。星期六和星期日：休息。",
        ),
        ("cmn-CN", "星期一至星期五：09:00至12:00和13:00至17:00。星期六和星期日：休息。"),
        ("cmn-Hant-TW", "星期一至星期五：上午9:00至中午12:00和下午1:00至下午5:00。"),
        ("yue", "星期一至星期五：上午9:00至中午12:00和下午1:00至下午5:00。"),
        ("no", "Mandag til fredag: 09:00 til 12:00 og 13:00 til 17:00. Lørdag og søndag: stengt."),
        ("iw", "יום שני עד יום שישי: משעה 9:00 עד 12:00 ומשעה 13:00 עד 17:00. "),
        ("sw", "Monday to Friday: 9:00 AM to 12:00 PM and"),
        ("tlh", "Monday to Friday: 9:00 AM to 12:00 PM and"),
        ("x-odd", "Monday to Friday: 9:00 AM to 12:00 PM and"),
    ],
)
def test_days_with_the_same_hours_are_one_sentence(language: str, expected_text: str) -> None:
    assert describe(*WEEK, language=language).startswith(expected_text)


def test_days_apart_with_the_same_hours_are_listed() -> None:
    text = describe(OFFICE, (), OFFICE, (), OFFICE, (MORNING,), (MORNING,))

    assert text == (
        "Monday, Wednesday, and Friday: 9:00 AM to 12:00 PM and 1:00 PM to 5:00 PM. "
        "Tuesday and Thursday: closed. Saturday and Sunday: 9:00 AM to 12:00 PM."
    )


def test_a_range_and_a_day_apart_are_listed_together() -> None:
    text = describe((MORNING,), (MORNING,), (MORNING,), (), (MORNING,), (), ())

    assert text.startswith("Monday to Wednesday and Friday: 9:00 AM to 12:00 PM. Thursday, ")


def test_a_range_can_begin_on_sunday() -> None:
    text = describe((MORNING,), (MORNING,), (MORNING,), (MORNING,), (), (), (MORNING,))

    assert text == "Sunday to Thursday: 9:00 AM to 12:00 PM. Friday and Saturday: closed."


@pytest.mark.parametrize(
    ("spans", "expected_text"),
    [
        ((WHOLE_DAY,), "Every day: open around the clock."),
        (((6 * 60, 24 * 60),), "Every day: 6:00 AM to midnight."),
        (((0, 6 * 60),), "Every day: 12:00 AM to 6:00 AM."),
        ((EVENING,), "Every day: 10:00 PM to 4:00 AM."),
        ((), "Every day: closed."),
    ],
)
def test_spans_at_midnight_and_whole_days(
    spans: tuple[MinuteSpan, ...], expected_text: str
) -> None:
    assert describe(*[spans] * 7) == expected_text


def test_without_weekly_hours_only_holidays_are_closed() -> None:
    assert describe(holidays=(CHRISTMAS,)) == (
        "Every day: open around the clock. Friday, December 25, 2026 (Christmas): closed."
    )


def test_holidays_follow_with_their_own_hours() -> None:
    text = describe(*WEEK, holidays=(CHRISTMAS_EVE, CHRISTMAS), language="de")

    assert text.endswith(
        " Donnerstag, 24. Dezember 2026: 09:00 bis 12:00 Uhr. "
        "Freitag, 25. Dezember 2026 (Christmas): geschlossen."
    )


def test_the_state_is_open_or_closed_with_the_next_opening() -> None:
    assert describe_state(is_open=True, opens_at=None) == "Open now."
    assert describe_state(opens_at=None) == "Closed now."
    assert describe_state() == "Closed now. Opens next: Monday, November 30, 2026, 9:00 AM."
    assert describe_state(language="de") == (
        "Jetzt geschlossen. Öffnet wieder: Montag, 30. November 2026, 09:00."
    )


def test_the_next_opening_is_in_the_time_zone_of_the_business() -> None:
    same_moment_in_new_york = MONDAY_MORNING.astimezone(ZoneInfo("America/New_York"))

    assert "9:00 AM" in describe_state()
    assert "3:00 AM" in describe_state(opens_at=same_moment_in_new_york)


@pytest.mark.parametrize(
    ("time_zone", "language", "expected_name"),
    [
        ("America/Los_Angeles", "en-US", "Pacific Time"),
        ("Europe/Berlin", "de", "Mitteleuropäische Zeit"),
        ("Asia/Tokyo", "ja", "日本時間"),
        ("UTC", "de", "UTC"),
        ("Etc/GMT+5", "en", "Etc/GMT+5"),
    ],
)
def test_a_time_zone_has_its_usual_name(time_zone: str, language: str, expected_name: str) -> None:
    assert opening_hours.time_zone_name(time_zone, language) == expected_name


# --- Every language -----------------------------------------------------------------------------


def test_hours_are_in_every_language_with_courtesy_words() -> None:
    assert {language.partition("_")[0] for language in PHRASES} == courtesy_words.LANGUAGES
    assert len(PHRASES) >= 24


@pytest.mark.parametrize("language", sorted(set(PHRASES) - {"en"}))
def test_no_word_of_another_language_is_left(language: str) -> None:
    schedule = Schedule(
        (OFFICE, OFFICE, OFFICE, (), ((6 * 60, 24 * 60),), (WHOLE_DAY,), (EVENING,)),
        (CHRISTMAS_EVE,),
    )
    tag = language.replace("_", "-")

    text = opening_hours.describe_schedule(schedule, tag)
    every_day = opening_hours.describe_schedule(Schedule(None), tag)

    phrases, locale = PHRASES[language], Locale.parse(language)
    assert phrases.closed in text
    assert phrases.midnight in text
    assert phrases.around_the_clock in text
    assert every_day.casefold().startswith(phrases.every_day.casefold())
    assert locale.days["stand-alone"]["wide"][4].casefold() in text.casefold()
    assert phrases.open_now in describe_state(is_open=True, language=tag)
    assert phrases.closed_now in describe_state(language=tag)
    assert "2026" in describe_state(language=tag)
    for whole_text in (text, every_day, describe_state(language=tag)):
        assert not any(mark in whole_text for mark in ("{", "}", "..", "  ", "\u202f"))
    english = vars(PHRASES["en"])
    translated = {
        name: value for name, value in vars(phrases).items() if name not in ("colon", "stop")
    }
    shared = {name for name, value in translated.items() if value and value == english[name]}
    assert not shared


@pytest.mark.parametrize("language", [name for name in PHRASES if PHRASES[name].days_from])
def test_inflected_days_are_seven_different_words(language: str) -> None:
    for days in (PHRASES[language].days_from, PHRASES[language].days_to):
        assert len(set(days.split(", "))) == 7
