"""One SQL script as its single statements: where a semicolon ends one, and where it does not."""

import re
from collections.abc import Iterator

# A word is taken whole, so that a `$` or an `E` in it begins nothing.
_TOKEN = re.compile(
    r"""
    (?P<space>   \s+ | --[^\n]* )
  | (?P<comment> /\* )
  | (?P<dollar>  \$ (?: [^\W\d]\w* )? \$ )
  | [eE]' (?: [^'\\] | \\. | '' )* '
  | ' (?: [^'] | '' )* '
  | " (?: [^"] | "" )* "
  | (?P<open>    [eE]?' | " )
  | \w [\w$]*
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def split(script: str) -> Iterator[str]:
    """The statements of a script in order, without their semicolons; comments alone are none.

    Knows strings of every spelling, quoted names, dollar quotes, nested comments and parentheses;
    not the bodies of SQL-standard functions, which no schema of a tenant may have. Raises
    ValueError for what is opened and never closed.
    """
    at = began = depth = 0
    says_something = False
    while at < len(script):
        token = _TOKEN.match(script, at)
        assert token is not None
        at = _end(script, token)
        if token["other"] == ";" and depth == 0:
            if says_something:
                yield script[began : token.start()].strip()
            began, says_something = at, False
        elif not (token["space"] or token["comment"]):
            says_something = True
            depth += {"(": 1, ")": -1}.get(token["other"], 0)
    if depth:
        raise ValueError("a parenthesis is never closed")
    if says_something:
        yield script[began:].strip()


def _end(script: str, token: re.Match[str]) -> int:
    """Where a token ends that may be longer than a pattern can say."""
    if token["comment"]:
        return _end_of_comment(script, token.end())
    if token["dollar"]:
        found = script.find(token["dollar"], token.end())
        if found < 0:
            raise ValueError(f"{token['dollar']} is never closed")
        return found + len(token["dollar"])
    if token["open"]:
        raise ValueError(f"{token['open']} is never closed")
    return token.end()


def _end_of_comment(script: str, at: int) -> int:
    depth = 1
    for mark in _COMMENT_MARK.finditer(script, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise ValueError("/* is never closed")
