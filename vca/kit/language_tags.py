"""Parse BCP 47 language tags and find the nearest one, with the data of Unicode's CLDR."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale
from babel.core import get_global

# RFC 5646, 2.1, without grandfathered and purely private tags: language, up to three extended
# languages, script, region, variants, extensions, private use.
PATTERN = (
    r"^[A-Za-z]{2,3}(-[A-Za-z]{3}){0,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?"
    r"(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*(-[0-9A-WY-Za-wy-z](-[A-Za-z0-9]{2,8})+)*"
    r"(-[Xx](-[A-Za-z0-9]{1,8})+)?$"
)
MAX_LENGTH = 35  # RFC 5646, 4.4.1
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<extended>[a-z]{3}))?(?:-[a-z]{3}){0,2}"
    r"(?:-(?P<script>[a-z]{4}))?(?:-(?P<territory>[a-z]{2}|[0-9]{3}))?(?:-.*)?",
    re.ASCII,
)
# Norwegian without a written form is taken as Bokmål, which is what voices and texts are in.
_ALIASES = {"no": "nb"}
# A language that serves the speakers of another one.
_SUBSTITUTES = {"nn": "nb", "yue": "zh"}


@dataclass(frozen=True)
class LanguageTag:
    """A tag in its canonical form, without variants and extensions: `iw-il` is `he-IL`."""

    language: str
    script: str | None = None
    territory: str | None = None

    def __str__(self) -> str:
        return "-".join(filter(None, (self.language, self.script, self.territory)))


@lru_cache(maxsize=4096)
def parse_tag(text: str) -> LanguageTag | None:
    """Return the tag in its canonical form, or None if the text is not a tag.

    An underscore counts as a hyphen, as POSIX locales have it.
    """
    hyphenated = text.replace("_", "-")
    if len(text) > MAX_LENGTH or not re.fullmatch(PATTERN[1:-1], hyphenated, re.ASCII):
        return None
    parts = _TAG.fullmatch(hyphenated.lower())
    assert parts is not None
    language = parts["extended"] or parts["language"]
    alias = get_global("language_aliases").get(language, language)
    language, _, script = alias.partition("_")
    territory = (parts["territory"] or "").upper()
    replacements = get_global("territory_aliases").get(territory, [])
    if len(replacements) == 1:
        (territory,) = replacements
    return LanguageTag(
        _ALIASES.get(language, language),
        (parts["script"] or script).title() or None,
        territory or None,
    )


def is_known_language(text: str) -> bool:
    """Return whether the text is a tag whose language has a name in CLDR."""
    tag = parse_tag(text)
    return tag is not None and tag.language in Locale("en").languages


def nearest_tag(tag: LanguageTag, candidates: Sequence[LanguageTag]) -> LanguageTag | None:
    """Return the candidate of the same language that is nearest; of equal ones, the first.

    Near are regions that share a parent in CLDR, such as `es-AR` and `es-MX`. Return None if there
    is no candidate of this language.
    """
    ancestors = list(_ancestors(tag))
    distances = [
        (min(map(ancestors.index, shared)), position)
        for position, candidate in enumerate(candidates)
        if candidate.language == tag.language
        and (shared := set(ancestors).intersection(_ancestors(candidate)))
    ]
    if distances:
        return candidates[min(distances)[1]]
    substitute = _SUBSTITUTES.get(tag.language)
    if substitute is None:
        return None
    return nearest_tag(LanguageTag(substitute, tag.script, tag.territory), candidates)


@lru_cache(maxsize=4096)
def _ancestors(tag: LanguageTag) -> tuple[str, ...]:
    """Return the tag and its parents in CLDR, the nearest first, as CLDR writes them."""
    return tuple(_walk_up(_locale_name(tag)))


def _walk_up(name: str) -> Iterator[str]:
    parents = get_global("parent_exceptions")
    language = name.partition("_")[0]
    while name and name != "root":
        yield name
        name = parents.get(name) or name.rpartition("_")[0]
        if name == "root":
            yield language
        # The script of a text does not change how it sounds, so it does not separate languages.


def _locale_name(tag: LanguageTag) -> str:
    """Return CLDR's name of the tag; it contains the script unless that is the language's own."""
    likely = get_global("likely_subtags")
    default_script = _part(likely.get(tag.language), 1)
    script, territory = tag.script, tag.territory
    if script is None and territory is not None:
        script = _part(likely.get(f"{tag.language}_{territory}"), 1)
    elif script not in (None, default_script) and territory is None:
        territory = _part(likely.get(f"{tag.language}_{script}"), 2)
    return "_".join(
        filter(None, (tag.language, script if script != default_script else None, territory))
    )


def _part(locale_name: str | None, index: int) -> str | None:
    parts = (locale_name or "").split("_")
    return parts[index] if len(parts) > index else None
