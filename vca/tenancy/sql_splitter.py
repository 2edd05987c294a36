"""Split an SQL script into its statements."""

import re
from collections.abc import Iterator

# A word is one token, so that a `$` or an `E` within it does not begin a string.
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


def split_statements(script: str) -> Iterator[str]:
    """Yield the statements of a script in order, without their semicolons.

    Comments alone are not a statement. The splitter understands all kinds of strings, quoted names,
    dollar quotes, nested comments and parentheses. It does not understand the bodies of
    SQL-standard functions, which tenants' schemas must not contain. Raises ValueError for anything
    that is not closed.
    """
    position = start = depth = 0
    has_content = False
    while position < len(script):
        token = _TOKEN.match(script, position)
        assert token is not None
        position = _token_end(script, token)
        if token["other"] == ";" and depth == 0:
            if has_content:
                yield script[start : token.start()].strip()
            start, has_content = position, False
        elif not (token["space"] or token["comment"]):
            has_content = True
            depth += {"(": 1, ")": -1}.get(token["other"], 0)
    if depth:
        raise ValueError("a parenthesis is not closed")
    if has_content:
        yield script[start:].strip()


def _token_end(script: str, token: re.Match[str]) -> int:
    """Return the end of a token, also of tokens that a pattern cannot match to the end."""
    if token["comment"]:
        return _comment_end(script, token.end())
    if token["dollar"]:
        closing = script.find(token["dollar"], token.end())
        if closing < 0:
            raise ValueError(f"{token['dollar']} is not closed")
        return closing + len(token["dollar"])
    if token["open"]:
        raise ValueError(f"{token['open']} is not closed")
    return token.end()


def _comment_end(script: str, position: int) -> int:
    depth = 1
    for mark in _COMMENT_MARK.finditer(script, position):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise ValueError("/* is not closed")
