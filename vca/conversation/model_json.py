"""Find the JSON object that was requested from a model in the text of its answer.

Models that cannot call tools, or whose servers ignore the required tool, write arguments as text:
alone, in a fence, after reasoning or between sentences. Some wrap the object in others, or encode
it as a string.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from vca.kit import json

_MAX_WRAPPERS = 6
_MAX_OBJECTS = 20
_REASONING = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis)"
_REASONING_END = re.compile(
    rf"</\s*(?:[\w-]+:)?{_REASONING}\s*>|\[/{_REASONING}\]|◁/{_REASONING}▷"
    rf"|<[|｜]?(?:/|end_(?:of_)?){_REASONING}[|｜]?>|<\|channel\|>\s*final\b",
    re.IGNORECASE,
)


def find_objects(text: str, *, members: Collection[str]) -> list[dict[str, Any]]:
    """Return the objects in the text that have at least one of the members, the likeliest first.

    The members' names are in lower case; the case in the text is ignored. An object inside a
    returned one is not returned itself. The last object comes first, because a model that corrects
    itself writes its final answer last. Objects in reasoning count only if there are no others.
    """
    ends = list(_REASONING_END.finditer(text))
    answer = text[ends[-1].end() :] if ends else text
    return _find_objects(answer, members) or _find_objects(text, members)


def _find_objects(text: str, members: Collection[str]) -> list[dict[str, Any]]:
    objects = [list(_unwrap(value, members, _MAX_WRAPPERS)) for value in json.find_values(text)]
    return [item for group in reversed(objects) for item in group][:_MAX_OBJECTS]


def _unwrap(value: Any, members: Collection[str], depth: int) -> Iterator[dict[str, Any]]:
    if depth < 0:
        return
    match value:
        case dict() if any(name.strip().casefold() in members for name in value):
            yield value
        case dict():
            for item in value.values():
                yield from _unwrap(item, members, depth - 1)
        case list():
            for item in value:
                yield from _unwrap(item, members, depth - 1)
        case str():
            for item in json.find_values(value):
                yield from _unwrap(item, members, depth - 1)
