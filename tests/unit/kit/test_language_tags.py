"""Tests of BCP 47 tags: their canonical form and the nearest one."""

import re

import pytest

from vca.kit.language_tags import PATTERN, LanguageTag, is_known_language, nearest_tag, parse_tag


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("en", "en"),
        ("EN-us", "en-US"),
        ("de-de", "de-DE"),
        ("iw", "he"),
        ("iw-IL", "he-IL"),
        ("in", "id"),
        ("tl", "fil"),
        ("no", "nb"),
        ("eng", "en"),
        ("cmn-Hans-CN", "zh-Hans-CN"),
        ("zh-yue-HK", "yue-HK"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("arb", "ar"),
        ("sh", "sr-Latn"),
        ("en-UK", "en-GB"),
        ("es-419", "es-419"),
        ("en_US", "en-US"),
        ("de-CH-1996", "de-CH"),
        ("sl-rozaj-biske", "sl"),
        ("de-DE-u-co-phonebk", "de-DE"),
        ("en-x-southern", "en"),
        ("qaa", "qaa"),
    ],
)
def test_a_tag_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_tag(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "e", "english", "en-", "-en", "en--US", "en-US\n", " en", "en-ABCDE-US-é", "x-own", "☎"],
)
def test_a_malformed_tag_is_no_tag(text: str) -> None:
    assert parse_tag(text) is None
    assert re.fullmatch(PATTERN, text, re.ASCII) is None or text.endswith("\n")


def test_a_tag_is_known_if_its_language_has_a_name() -> None:
    assert is_known_language("sw-KE")
    assert is_known_language("no")
    assert not is_known_language("xx")
    assert not is_known_language("nonsense")


CANDIDATES = (
    "en-US",
    "en-GB",
    "es-ES",
    "es-MX",
    "pt-BR",
    "pt-PT",
    "zh-CN",
    "zh-TW",
    "zh-HK",
    "nb-NO",
)


@pytest.mark.parametrize(
    ("tag", "nearest"),
    [
        ("en", "en-US"),
        ("en-IE", "en-GB"),
        ("en-AU", "en-GB"),
        ("en-US", "en-US"),
        ("es-AR", "es-MX"),
        ("es-419", "es-MX"),
        ("es", "es-ES"),
        ("es-EA", "es-ES"),
        ("pt-AO", "pt-PT"),
        ("zh-Hans-CN", "zh-CN"),
        ("zh-Hant", "zh-TW"),
        ("zh-MO", "zh-HK"),
        ("yue-HK", "zh-HK"),
        ("nn-NO", "nb-NO"),
        ("no", "nb-NO"),
        ("ja", None),
    ],
)
def test_the_nearest_tag_is_of_the_same_language_and_a_related_region(
    tag: str, nearest: str | None
) -> None:
    candidates = [parsed for text in CANDIDATES if (parsed := parse_tag(text)) is not None]
    requested = parse_tag(tag)
    assert isinstance(requested, LanguageTag)

    matching_tag = nearest_tag(requested, candidates)

    assert (str(matching_tag) if matching_tag is not None else None) == nearest
