"""Read tool calls that a model writes as text, in the forms of the known chat templates.

Such a call is read from text that the caller may have dictated. `is_quoted` recognises that.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from vca.conversation.types import ToolCall
from vca.conversation.written_block import BlockEnd, WrittenBlock
from vca.kit import json

MAX_CALLS = 8
_MAX_VALUES = 32  # JSON values that are looked at in one block
_MAX_PYTHON_CHARS = 4_000

_NAME_MEMBERS = ("name", "tool_name", "tool", "function", "function_name", "action")
_ARGUMENT_MEMBERS = (
    "arguments",
    "parameters",
    "args",
    "params",
    "input",
    "kwargs",
    "tool_input",
    "action_input",
)
_OTHER_MEMBERS = ("id", "type", "index", "call_id", "tool_call_id")
_LIST_MEMBERS = ("tool_calls", "function_call", "tool_call", "calls")
_NAMED_TAG = re.compile(
    r"<(?:[\w-]+:)?(?:function|invoke)(?:\s+name)?\s*=\s*[\"']?([\w.-]+)[\"']?>"
)
_NAME_BEFORE_TAGS = re.compile(r"\s*(?:<[^<>]*>\s*)?([\w.-]+)\s*(?=<arg_key>|<parameter)")
_PARAMETER = re.compile(
    r"<(?:[\w-]+:)?parameter(?:\s+name)?\s*=\s*[\"']?([\w.-]+)[\"']?[^<>]*>(.*?)"
    r"</(?:[\w-]+:)?parameter\s*>"
    r"|<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>",
    re.DOTALL,
)
_TEMPLATE_CALL = re.compile(r"call:([\w.-]+)\s*\{(.*)\}", re.DOTALL)
_TEMPLATE_ARGUMENT = re.compile(r'(\w+):(?:<escape>|<\|"\|>)(.*?)(?:<escape>|<\|"\|>)', re.DOTALL)
_NAME_BEFORE_JSON = re.compile(r"([A-Za-z_][\w.-]{0,63})(?::\d+)?\s*\Z")
_PYTHON_CALL = re.compile(r"[\[\s]*(?:print\s*\(\s*)?[A-Za-z_][\w.]*\s*\(")
# Text between the parts of a call: special tokens, `[ARGS]`, fences.
_SEPARATOR = re.compile(
    r"<[|｜][^<>\"]{0,80}>|<[\w:]{1,40}[|｜]>|\[[A-Z_]{3,12}\]|`{3}[\w-]*|~{3}[\w-]*"
)
_TAG = re.compile(r"</?[\w:|｜-]{1,60}[^<>]{0,200}>")
_DSML = re.compile(r"[|｜]DSML[|｜]")


def read_calls(blocks: Iterable[WrittenBlock], tool_names: Collection[str]) -> list[ToolCall]:
    """Return the calls of these tools that stand in the blocks."""
    calls: list[ToolCall] = []
    for block in blocks:
        text = _DSML.sub("", block.text)
        for name, arguments in _read_block(text, block.name):
            short_name = name if name in tool_names else name.rpartition(".")[2]
            if short_name in tool_names and len(calls) < MAX_CALLS:
                calls.append(ToolCall(short_name, arguments, source_text=block.text or name))
    return calls


def _read_block(text: str, name: str) -> list[tuple[str, str]]:
    """Return names and arguments as JSON; the name is given if the block's mark had it."""
    if name:
        return [(name, text)]
    for read in (_read_tags, _read_template_calls, _read_python, _read_json):
        if calls := list(read(text)):
            return calls
    return []


def _read_tags(text: str) -> Iterator[tuple[str, str]]:
    """Read `<function=name>`, `<invoke name="…">` and names before `<arg_key>`."""
    names = list(_NAMED_TAG.finditer(text)) or list(_NAME_BEFORE_TAGS.finditer(text))
    for position, match in enumerate(names):
        end = names[position + 1].start() if position + 1 < len(names) else len(text)
        body = text[match.end() : end]
        parameters = [
            (key or other_key, value or other_value)
            for key, value, other_key, other_value in _PARAMETER.findall(body)
        ]
        if parameters:
            arguments = {key.strip(): value.strip() for key, value in parameters}
            yield match[1], json.dumps(arguments).decode()
        else:
            values = [value for _, value in _json_values(body)]
            yield match[1], _arguments_text(values[0]) if values else _TAG.sub("", body).strip()


def _read_template_calls(text: str) -> Iterator[tuple[str, str]]:
    """Read the calls of Gemma's templates, `call:name{key:<escape>value<escape>}`."""
    match = _TEMPLATE_CALL.search(text)
    if match is not None:
        arguments = dict(_TEMPLATE_ARGUMENT.findall(match[2]))
        yield match[1], json.dumps(arguments).decode()


def _read_python(text: str) -> Iterator[tuple[str, str]]:
    """Read `name(key="value")`, `name.call(…)`, and lists of them."""
    source = _SEPARATOR.sub(" ", _TAG.sub(" ", text)).strip().rstrip(";")
    if len(source) > _MAX_PYTHON_CHARS or not _PYTHON_CALL.match(source):
        return
    try:
        node: ast.AST = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for item in node.elts if isinstance(node, ast.List | ast.Tuple) else [node]:
        if isinstance(item, ast.Call) and ast.unparse(item.func) == "print" and item.args:
            item = item.args[0]
        if not isinstance(item, ast.Call) or item.args:
            continue
        name = ast.unparse(item.func).removesuffix(".call")
        try:
            arguments: dict[str, Any] = {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in item.keywords
                if keyword.arg is not None
            }
            yield name, json.dumps(arguments).decode()
        except (ValueError, TypeError, RecursionError):
            continue


def _read_json(text: str) -> Iterator[tuple[str, str]]:
    """Read JSON calls, and arguments that follow a name."""
    source = _SEPARATOR.sub(" ", text)
    position = 0
    for (start, end), value in _json_values(source):
        before = _NAME_BEFORE_JSON.search(_TAG.sub(" ", source[position:start]))
        position = end
        calls = list(_calls_in_value(value))
        if calls:
            yield from calls
        elif before is not None:
            yield before[1], _arguments_text(value)


def _json_values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and arrays of the text, each with its place."""
    position = 0
    for _ in range(_MAX_VALUES):
        bracket = re.compile(r"[{\[]").search(text, position)
        if bracket is None:
            return
        end = BlockEnd(None).find(text[bracket.start() :])
        try:
            if end is None:
                raise json.InvalidJson("incomplete")
            candidate = text[bracket.start() : bracket.start() + end[0]]
            value = json.strict_loads(candidate.encode("utf-8", "surrogatepass"))
        except json.InvalidJson:
            position = bracket.end()
            continue
        position = bracket.start() + end[0]
        yield (bracket.start(), position), value


def _calls_in_value(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the calls in a JSON value: an object, a list of them, or `{"tool_calls": […]}`."""
    if isinstance(value, list):
        for item in value[:_MAX_VALUES]:
            yield from _calls_in_value(item)
        return
    if not isinstance(value, Mapping):
        return
    for member in _LIST_MEMBERS:
        if isinstance(value.get(member), list | dict):
            yield from _calls_in_value(value[member])
            return
    if isinstance(value.get("function"), dict):
        yield from _calls_in_value(value["function"])
        return
    allowed_members = (*_NAME_MEMBERS, *_ARGUMENT_MEMBERS, *_OTHER_MEMBERS)
    name = next((value[key] for key in _NAME_MEMBERS if isinstance(value.get(key), str)), None)
    if name is not None and all(member in allowed_members for member in value):
        arguments: Any = next((value[key] for key in _ARGUMENT_MEMBERS if key in value), {})
        yield name, _arguments_text(arguments)


def _arguments_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).decode()


# Words that people use to dictate a call, and that no caller needs.
_DICTATION = re.compile(
    r"\b(?:json|xml|arguments?|parameters?|(?:curly|square|angle) \w+|braces?|brackets?|underscore"
    r"|backticks?|(?:tool|function)[ _-]calls?)\b",
    re.IGNORECASE,
)


def is_quoted(call: ToolCall, texts: Iterable[str]) -> bool:
    """Return whether a written call repeats what the texts contain.

    It does if the texts have the same letters in the same order, the tool's name in the syntax of
    a call, or the tool's name together with words of a dictation.
    """
    text = " ".join(texts)
    letters, name_letters = _letters(text), _letters(call.name)
    content = _letters(_TAG.sub(" ", _SEPARATOR.sub(" ", call.source_text)))
    if content not in ("", name_letters) and content in letters:
        return True
    name = re.escape(call.name)
    syntax = rf"(?<!\w){name}\s*(?:\.call\s*)?[({{\[]|[\"'=:<>|/]\s*{name}\s*[\"'<>|({{\[,]"
    if re.search(syntax, text) or ("_" in call.name and call.name in text.lower()):
        return True
    return name_letters in letters and _DICTATION.search(text) is not None


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
