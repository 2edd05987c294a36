"""The marks that chat templates put into a model's text: reasoning, special tokens, tool calls.

Servers should remove these marks, and many do not. They are recognised by form where possible, so
that the template of the next model needs no change here.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

MarkKind: TypeAlias = Literal[
    "reasoning_start",  # what follows is reasoning
    "reasoning_end",
    "call_start",  # what follows is a tool call, up to `Mark.end`
    "data_start",  # what follows is a result that the model made up
    "channel",  # gpt-oss: the name of a channel follows
    "message",  # gpt-oss: the text of the channel follows
    "format",  # gpt-oss: the format of the text follows
    "turn_start",  # the name of a speaker follows
    "own_turn",  # the agent speaks
    "other_turn",  # another speaker speaks, whose words the model made up
    "token",  # any other special token
    "tag",  # HTML, XML, or anything else in angle brackets
]


@dataclass(frozen=True)
class Mark:
    """A complete mark; `end` is a pattern of what ends the block that it starts."""

    kind: MarkKind
    end: str = ""


# `<think>`, `<seed:think>`, `<thinking type="x">`, `</think>`; `<|im_end|>`, also with full-width
# bars; `<|channel>`, `<<SYS>>`; `[THINK]`, `[TOOL_CALLS]`, `[|assistant|]`; `◁think▷`.
MARK = re.compile(
    r"<<\s*/?SYS\s*>>|<[/!?]?[A-Za-z|｜][^<>]{0,300}>|<[/!?]?[^\W\d][^<>\s]{0,60}[|｜]>"
    r"|\[/?[A-Za-z][A-Za-z_]{2,20}\]|\[\|[^\[\]|]{0,40}\|\]|◁/?[^◁▷]{1,20}▷"
)
# The beginning of a mark that a later chunk may complete.
OPEN_MARK = re.compile(
    r"<(?:<[\s/A-Z]{0,8}>?|[/!?]?(?:[A-Za-z|｜][^<>]{0,300})?)?\Z"
    r"|\[(?:/?(?:[A-Za-z][A-Za-z_]{0,20})?|\|[^\[\]|]{0,40}\|?)\Z|◁[^◁▷]{0,20}\Z"
)
MARK_START = re.compile(r"[<\[◁]")

MAX_OPEN_CHARS = 400
"""The length of a mark or a header that is not complete, after which it is ordinary text."""

_REASONING = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|inner_monologue)"
_REASONING_NAME = re.compile(rf"(?:[\w-]+:)?{_REASONING}")
_REASONING_TOKEN = re.compile(
    rf"(?P<end>/|end_(?:of_)?)?(?:start_|begin_)?(?:of_)?{_REASONING}(?:_start|_begin)?"
    r"(?P<end_after>_end)?"
)
_CALL_NAME = re.compile(
    r"(?:[\w-]+:|[|｜]\w+[|｜])?"
    r"(?:(?:start_)?(?:tool|function)s?[_-]?(?:call(?:s|ing)?|use|code)|functions?|tools|invoke)"
)
_DATA_NAME = re.compile(r"(?:[\w-]+:)?(?:tool|function)s?[_-]?(?:response|result|output)s?")
_CALL_TOKEN = re.compile(
    r"(?:start_|begin_)?(?:(?:tool|function)_?calls?|action|python_tag|python)"
    r"(?:_section)?(?:_start|_begin)?"
)
_DATA_TOKEN = re.compile(r"(?:start_|begin_)?tool_(?:output|result|response)s?(?:_start|_begin)?")
_TURN_START = re.compile(r"(?:im_)?start|start_header_id|start_of_(?:turn|role)|header_start")
OWN_ROLES = ("assistant", "model", "bot", "chatbot", "ai")
OTHER_ROLES = ("user", "human", "system", "tool", "developer", "observation", "ipython")
ROLES = (*OWN_ROLES, *OTHER_ROLES)
REASONING_CHANNELS = ("analysis", "thought", "thinking", "reasoning")
_CHANNEL_TOKENS: dict[str, MarkKind] = {
    "channel": "channel",
    "message": "message",
    "constrain": "format",
}
_BRACKET_TOKEN = re.compile(
    r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CONTENT|ARGS|CALL_ID|IMG|BOS|EOS|PAD|UNK|CLS"
    r"|SEP|MASK|gMASK|PREFIX|SUFFIX|MIDDLE)"
)
_END_OF_ANSWER = r"\Z"
# The end of a call that begins with a special token without an end mark of its own.
_END_OF_TURN = r"<[|｜](?:eom_id|eot_id|im_end|end|call|return|end[▁_]of[▁_]sentence)[|｜]>|</s>"


def classify_mark(text: str) -> Mark | None:
    """Return what a complete mark means, or None if it is ordinary text, such as `[sic]`."""
    if text[0] == "◁":
        return _reasoning_mark(text[1:-1])
    if text[0] == "[":
        return _classify_bracket(text[1:-1])
    if text.startswith("<<"):
        return Mark("token")
    body = text[1:-1]
    is_token = body[:1] in "|｜" or body[-1:] in "|｜"
    if is_token and not body.strip("|｜").startswith("DSML"):
        return _classify_token(body)
    return _classify_tag(body)


def _reasoning_mark(name: str) -> Mark | None:
    if not _REASONING_NAME.fullmatch(name.removeprefix("/").strip().lower()):
        return None
    return Mark("reasoning_end" if name.startswith("/") else "reasoning_start")


def _classify_bracket(name: str) -> Mark | None:
    if name.startswith("|"):
        return _speaker_mark(name.strip("|")) or Mark("token")
    if name == "TOOL_CALLS":
        return Mark("call_start", rf"{_END_OF_TURN}|{_END_OF_ANSWER}")
    if name == "TOOL_RESULTS":
        return Mark("data_start", r"\[/TOOL_RESULTS\]")
    if _BRACKET_TOKEN.fullmatch(name):
        return Mark("token")
    return _reasoning_mark(name) if name.isupper() else None


def _classify_tag(body: str) -> Mark:
    is_end = body.startswith("/")
    name = re.split(r"[\s=>]", body.lstrip("/!?").strip(), maxsplit=1)[0].lower()
    if _REASONING_NAME.fullmatch(name):
        if body.endswith("/"):
            return Mark("token")
        return Mark("reasoning_end" if is_end else "reasoning_start")
    if _DATA_NAME.fullmatch(name):
        return Mark("token") if is_end else Mark("data_start", rf"</\s*{re.escape(name)}\s*>")
    if _CALL_NAME.fullmatch(name):
        ends = [rf"</\s*{re.escape(name)}\s*>"]
        if name.startswith("start_"):
            ends.append(f"<{re.escape(name.replace('start_', 'end_', 1))}>")
        return Mark("token") if is_end else Mark("call_start", f"(?i:{'|'.join(ends)})")
    if name in ("start_of_turn", "role"):
        return Mark("token" if is_end else "turn_start")
    return Mark("token" if name in ("end_of_turn", "s", "bos", "eos", "pad", "unk") else "tag")


def _classify_token(body: str) -> Mark:
    name = body.strip("|｜ ").replace("▁", "_").lower()
    if (reasoning := _REASONING_TOKEN.fullmatch(name)) is not None:
        is_end = reasoning["end"] is not None or reasoning["end_after"] is not None
        return Mark("reasoning_end" if is_end else "reasoning_start")
    if _TURN_START.fullmatch(name):
        return Mark("turn_start")
    if name in _CHANNEL_TOKENS and body[0] in "|｜":  # `<channel|>` ends a channel
        return Mark(_CHANNEL_TOKENS[name])
    if (speaker := _speaker_mark(name)) is not None:
        return speaker
    if _DATA_TOKEN.fullmatch(name):
        return Mark("data_start", _token_end(name))
    if _CALL_TOKEN.fullmatch(name):
        return Mark("call_start", _token_end(name))
    return Mark("token")


def _speaker_mark(name: str) -> Mark | None:
    """Return the mark of a token that names a speaker, such as `<|user|>`."""
    if name in OWN_ROLES:
        return Mark("own_turn")
    return Mark("other_turn") if name in OTHER_ROLES else None


def _token_end(name: str) -> str:
    """Return the pattern of the token that ends the block of a token."""
    end_name = re.sub("start|begin", "end", name)
    if end_name == name:
        end_name = f"/{name}"
    escaped = re.escape(end_name).replace("_", "[_▁]")
    return rf"(?i:<[|｜]{escaped}[|｜]>)|{_END_OF_TURN}"


# Reasoning that words begin and end. The first is gpt-oss without its special tokens.
_GRANITE_END = re.compile(r"here(?:'s| is) my response:", re.IGNORECASE)
SPOKEN_REASONING = {
    "analysis": (re.compile(r"analysis(?=[A-Z])"), re.compile(r"assistant(?:commentary|final)")),
    **{
        start: (re.compile(start, re.IGNORECASE), _GRANITE_END)
        for start in ("here is my thought process:", "here's my thought process:")
    },
}

_OPENERS = ("okay", "ok", "alright", "so", "now", "first", "got it")
_OPENING_WORDS = re.compile(rf"(?:(?:{'|'.join(_OPENERS)}|hm+) )*")
_NOUNS = ("user", "caller", "customer")
_THIRD_PERSONS = (
    *(f"{article} {noun}" for article in ("the", "this") for noun in _NOUNS),
    *("用户", "来电者", "ユーザー", "사용자"),
)
_SEPARATORS = re.compile(r"[\s,.…!:;—-]+")
MAX_OPENING_CHARS = 80


def is_reasoning_opening(text: str) -> bool | None:
    """Return whether an answer that begins with this text may be reasoning without a start tag.

    Reasoning speaks about the caller, as in "Okay, the user wants …", and an agent speaks to the
    caller. Return None while more text is needed to decide.
    """
    is_long = len(text) >= MAX_OPENING_CHARS
    words = _SEPARATORS.sub(" ", text[:MAX_OPENING_CHARS].lstrip().casefold())
    opening = _OPENING_WORDS.match(words)
    assert opening is not None
    remainder = words[opening.end() :]
    if any(remainder.startswith(person) for person in _THIRD_PERSONS):
        return True
    candidates = (*_THIRD_PERSONS, *_OPENERS)
    may_continue = any(candidate.startswith(remainder) for candidate in candidates)
    return None if not is_long and (may_continue or re.fullmatch("hm*", remainder)) else False


def open_mark_start(text: str, position: int) -> int:
    """Return where the incomplete mark at the end of the text begins, or the text's end."""
    for match in MARK_START.finditer(text, max(position, len(text) - MAX_OPEN_CHARS)):
        if OPEN_MARK.match(text, match.start()):
            return match.start()
    return len(text)


def is_cut_mark(text: str) -> bool:
    """Return whether the text is the beginning of a mark that the end of the answer cut off."""
    if re.match(r"<[|｜]|[`~]{3}|◁|\[\|", text):
        return True
    name = re.match(r"(?:</?|\[/?)([A-Za-z_]{3,20})[^<>\]]*\Z", text)
    names = ("think", "thought", "reasoning", "tool_call", "function", "INST", "TOOL_CALLS")
    return name is not None and any(
        full_name.lower().startswith(name[1].lower())
        or name[1].lower().startswith(full_name.lower())
        for full_name in names
    )
