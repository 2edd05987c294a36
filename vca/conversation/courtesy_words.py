"""Words of courtesy in each language: what people say around a goodbye.

`courtesy/<language>.txt` has the words and phrases of a language, separated by commas. Within an
entry a space separates words, `a|b` means a or b, `a|` means a or nothing, and `a_b` is one
alternative of two words: `thank you very|so much|` stands for four phrases. Leave out every word
that can be a part of a request, a refusal or a name, such as "wait", "not" and "my".

To add a language: one file, named after the primary subtag of BCP 47.
"""

from functools import cache
from itertools import product
from pathlib import Path

_FOLDER = Path(__file__).parent / "courtesy"
LANGUAGES = frozenset(file.stem for file in _FOLDER.glob("*.txt"))
# Other primary subtags of the same languages.
_ALIASES = {"no": "nb", "nn": "nb", "cmn": "zh", "yue": "zh", "iw": "he", "in": "id"}


@cache
def courtesy_phrases(language: str) -> tuple[str, ...]:
    """Return the words and phrases of a BCP 47 tag's language, none if it has no file."""
    subtag = language.replace("_", "-").partition("-")[0].lower()
    primary = _ALIASES.get(subtag, subtag)
    if primary not in LANGUAGES:
        return ()
    entries = (_FOLDER / f"{primary}.txt").read_text(encoding="utf-8").split(",")
    return tuple(phrase for entry in entries for phrase in _expand(entry) if phrase)


def _expand(entry: str) -> list[str]:
    """Return the phrases that an entry stands for."""
    choices = product(*(word.split("|") for word in entry.split()))
    return [" ".join(filter(None, choice)).replace("_", " ") for choice in choices]
