"""Opening hours in words, in the language of a profile."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_datetime_format, get_timezone_name
from babel.lists import format_list

from vca.conversation.hours_phrases import PHRASES, HoursPhrases
from vca.conversation.types import Holiday, MinuteSpan, OpeningHours, Schedule

_DAY_MINUTES = 24 * 60
_WEEK = range(7)
# Languages of Babel whose phrases are those of another one.
_ALIASES = {"no": "nb", "nn": "nb"}


def describe_schedule(schedule: Schedule, language: str) -> str:
    """Return the hours of the week, and the hours of the next holidays, as sentences.

    `language` is a BCP 47 tag. A language without phrases gets English ones.
    """
    locale, phrases = _language_data(language)
    weekly = schedule.weekly or (((0, _DAY_MINUTES),),) * 7
    sentences = [
        *_weekly_sentences(weekly, locale, phrases),
        *(_holiday_sentence(day, locale, phrases) for day in schedule.holidays),
    ]
    return _clean("".join(_end_sentence(_capitalise(text), phrases) for text in sentences))


def describe_state(hours: OpeningHours, language: str) -> str:
    """Return whether it is open, and when it opens next if it is closed."""
    # Without the time zone, because equal moments in different zones are one key of the cache.
    opens_at = hours.opens_at.replace(tzinfo=None) if hours.opens_at else None
    return _describe_state(hours.is_open, opens_at, language)


@lru_cache(maxsize=4096)
def _describe_state(is_open: bool, opens_at: datetime | None, language: str) -> str:
    locale, phrases = _language_data(language)
    if is_open or opens_at is None:
        return _clean(_end_sentence(phrases.open_now if is_open else phrases.closed_now, phrases))
    opening = phrases.opens_next.format(time=_format_moment(opens_at, locale))
    return _clean(_end_sentence(phrases.closed_now, phrases) + _end_sentence(opening, phrases))


@lru_cache(maxsize=4096)
def time_zone_name(time_zone: str, language: str) -> str:
    """Return the name of a time zone that people use, or its IANA name if they have none."""
    if "/" not in time_zone or time_zone.startswith("Etc/"):
        return time_zone
    locale, _ = _language_data(language)
    return _clean(get_timezone_name(time_zone, zone_variant="generic", locale=locale))


def _weekly_sentences(
    weekly: Sequence[tuple[MinuteSpan, ...]], locale: Locale, phrases: HoursPhrases
) -> Iterator[str]:
    """Yield one sentence for all days with the same hours, in the order of their first days."""
    for spans in dict.fromkeys(weekly):
        days = [day for day in _WEEK if weekly[day] == spans]
        yield f"{_format_days(days, locale, phrases)}{phrases.colon}" + _format_spans(
            spans, locale, phrases
        )


def _holiday_sentence(day: Holiday, locale: Locale, phrases: HoursPhrases) -> str:
    name = f" ({day.name})" if day.name else ""
    spans = _format_spans(day.spans, locale, phrases)
    return f"{format_date(day.date, 'full', locale)}{name}{phrases.colon}{spans}"


def _format_days(days: Sequence[int], locale: Locale, phrases: HoursPhrases) -> str:
    if len(days) == len(_WEEK):
        return phrases.every_day
    names = locale.days["stand-alone"]["wide"]
    parts: list[str] = []
    for run in _consecutive_runs(days):
        if len(run) > 2:
            parts.append(
                phrases.day_range.format(
                    first=_day_of_range(run[0], phrases.days_from, names),
                    last=_day_of_range(run[-1], phrases.days_to, names),
                )
            )
        else:
            parts += [names[day] for day in run]
    return format_list(parts, locale=locale)


def _day_of_range(day: int, inflected: str, names: Mapping[int, str]) -> str:
    return inflected.split(", ")[day] if inflected else names[day]


def _consecutive_runs(days: Sequence[int]) -> list[list[int]]:
    """Return the days as runs; one from Sunday on continues on Monday."""
    groups = groupby(enumerate(days), key=lambda item: item[1] - item[0])
    runs = [list(map(itemgetter(1), group)) for _, group in groups]
    if len(runs) > 1 and runs[0][0] == _WEEK[0] and runs[-1][-1] == _WEEK[-1]:
        return [runs[-1] + runs[0], *runs[1:-1]]
    return runs


def _format_spans(spans: Iterable[MinuteSpan], locale: Locale, phrases: HoursPhrases) -> str:
    texts = [_format_span(span, locale, phrases) for span in spans]
    return format_list(texts, locale=locale) if texts else phrases.closed


def _format_span(span: MinuteSpan, locale: Locale, phrases: HoursPhrases) -> str:
    start, end = span
    if span == (0, _DAY_MINUTES):
        return phrases.around_the_clock
    end_text = phrases.midnight if end == _DAY_MINUTES else _format_minute(end, locale)
    return phrases.time_range.format(start=_format_minute(start, locale), end=end_text)


def _format_moment(moment: datetime, locale: Locale) -> str:
    """Return the date in full, and the time without seconds."""
    pattern: str = str(get_datetime_format("full", locale=locale)).replace("'", "")
    day = format_date(moment, "full", locale=locale)
    return pattern.format(format_time(moment, "short", locale=locale), day)


def _format_minute(minute: int, locale: Locale) -> str:
    hour, minute = divmod(minute % _DAY_MINUTES, 60)
    return format_time(time(hour, minute), "short", locale=locale)


@lru_cache(maxsize=256)
def _language_data(language: str) -> tuple[Locale, HoursPhrases]:
    """Return Babel's data and our phrases for a BCP 47 tag; English if either has none."""
    primary, _, subtags = language.replace("_", "-").partition("-")
    primary = {"cmn": "zh", "yue": "zh"}.get(primary.lower(), primary)
    for tag in (f"{primary}-{subtags}", primary):
        try:
            locale = Locale.parse(tag.rstrip("-"), sep="-")
        except (UnknownLocaleError, ValueError):
            continue
        if locale.script == "Hant" or language.lower().startswith("yue"):
            return Locale("zh", script="Hant"), PHRASES["zh_Hant"]
        phrases = PHRASES.get(_ALIASES.get(locale.language, locale.language))
        if phrases is not None:
            return locale, phrases
    return Locale("en"), PHRASES["en"]


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _end_sentence(sentence: str, phrases: HoursPhrases) -> str:
    """Return the sentence with one stop: "5:00 p.m." has one already."""
    has_stop = phrases.stop.startswith(".") and sentence.endswith(".")
    return f"{sentence} " if has_stop else sentence + phrases.stop


def _clean(text: str) -> str:
    """Return the text with plain spaces only: Babel writes a narrow one before AM and PM."""
    return " ".join(text.split())
