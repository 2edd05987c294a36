"""Separate what a model says from what it thinks, and from tool calls that it writes as text.

The filter reads a stream. What it returns depends on the text only, not on how the text is split
into chunks: it decides nothing before it has seen enough.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import replace

from vca.conversation import model_markup
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, Reasoning
from vca.conversation.model_markup import MARK, MAX_OPEN_CHARS, OPEN_MARK, SPOKEN_REASONING, Mark
from vca.conversation.written_block import BlockEnd, WrittenBlock

MAX_WITHHELD_CHARS = 16_000
"""Characters of an answer that are kept while it may turn out to be reasoning."""

_POSSIBLE_MARK = re.compile(r"[<\[{`~◁]")
_find_possible_mark = _POSSIBLE_MARK.search
_JSON_START = re.compile(r"\{\s*[\"'}]|\[\s*\{|\[\s*[\w.]+\(")
# At the start of an answer, braces and brackets are JSON unless they turn out to be words.
_POSSIBLE_JSON_START = re.compile(r"\{|\[\s*[\"'{\]]|\[\s*[\w.]+\(")
_OPEN_JSON_START = re.compile(r"\{\s*\Z|\[\s*(?:[\w.]{1,64})?\Z")
_CODE_FENCE = re.compile(r"(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[ \t]*+(?=[^`~])")
_OPEN_FENCE = re.compile(r"(?:`{1,2}|~{1,2})\Z|(?:`{3,}|~{3,})[ \t]*[\w+#.-]{0,40}[ \t]*\Z")
_FENCES_WITH_WORDS = ("", "text", "txt", "plain", "plaintext", "markdown", "md")
_CODE_STARTS = "\n{[<("
_HEADER_END = re.compile(r"\n|(?=<[|｜a-z])")
_ROLE = re.compile(r"\s*([a-z]+)(?![a-z])")
_OPEN_ROLE = re.compile(r"\s*([a-z]*)\Z")
_MAX_ROLE_CHARS = 20
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]{1,64})")
_NEXT_MESSAGE = re.compile(r"<[|｜](?:end|start|channel|return|call)[|｜]>|<channel[|｜]>")
_CALL_MESSAGE_END = r"<[|｜](?:call|end|return|start)[|｜]>|\Z"
_CALL_AFTER_NAME = re.compile(r"\.call\s*\(|\s*[({]|\s*\[(?=[\[{A])")
_OPEN_CALL_AFTER_NAME = re.compile(r"(?:\.(?:c(?:a(?:l(?:l\s*)?)?)?)?|\s*\[?)\Z")


class UnmarkedReasoning(Reasoning):
    """The text so far was reasoning, although no mark began it: discard what was not spoken."""


class AnswerFilter:
    """Filters one answer.

    `tool_names` are the tools that the request offers. `withholds` means that the model is known to
    reason without a start mark: nothing is returned before the end mark, or the end of the answer.
    """

    def __init__(self, tool_names: Collection[str] = (), *, withholds: bool = False) -> None:
        names = (*tool_names, "functools")
        self._call_names = (*names, *(f"functions.{name}" for name in names))
        self._buffer = ""
        self._starts_with_words = False  # although it begins like JSON
        self._passes_words = False  # whether text without marks needs no further look
        self._read: Callable[[], bool] = self._read_opening
        self._output: list[str | Reasoning] = []
        self._withheld: list[str] | None = [] if withholds else None
        self._withheld_chars = 0
        self._block: WrittenBlock | None = None
        self._block_end = BlockEnd(None)
        self._reasoning_end = _NEXT_MESSAGE
        self._depth = 0
        self._header_kind = "turn_start"
        self._recipient = ""
        self._after_inner_end: str | None = None
        self._blocks: list[WrittenBlock] = []
        self.has_words = False
        self.had_unmarked_reasoning = False

    @property
    def blocks(self) -> tuple[WrittenBlock, ...]:
        """The blocks that may be tool calls: those in marks, and others if there are no words."""
        return tuple(block for block in self._blocks if block.is_wrapped or not self.has_words)

    def passes(self, chunk: str) -> bool:
        """Return whether the chunk is words and changes nothing; then it needs no `add`."""
        return self._passes_words and _find_possible_mark(chunk) is None

    def add(self, chunk: str) -> list[str | Reasoning]:
        """Return what the chunk adds to the words of the answer.

        `UnmarkedReasoning` takes earlier words back.
        """
        if self.passes(chunk):
            return [chunk]
        self._buffer += chunk
        return self._run()

    def finish(self) -> list[str | Reasoning]:
        """Return the remaining words at the end of the answer."""
        self._finish_read()
        if self._after_inner_end is not None:
            # A start mark was mentioned inside the reasoning, so one end mark is missing.
            self._buffer, self._after_inner_end = self._after_inner_end, None
            self._read = self._read_words
            self._finish_read()
        if self._withheld is not None:
            self._output += self._withheld
            self._withheld = None
        return self._take_output()

    def _run(self) -> list[str | Reasoning]:
        while self._buffer and self._read():
            pass
        self._passes_words = (
            self._read == self._read_words
            and self.has_words
            and not self._buffer
            and self._withheld is None
        )
        return self._take_output()

    def _take_output(self) -> list[str | Reasoning]:
        """Return the output so far, with its words as one text."""
        output, self._output = self._output, []
        if len(output) < 2:
            return output
        signals: list[str | Reasoning] = [item for item in output if isinstance(item, Reasoning)]
        words = "".join(item for item in output if isinstance(item, str))
        return [*signals, words] if words else signals

    def _emit(self, text: str) -> None:
        if not text:
            return
        self.has_words = self.has_words or any(map(str.isalnum, text))
        if self._withheld is None:
            self._output.append(text)
        elif self._withheld_chars < MAX_WITHHELD_CHARS:
            self._withheld.append(text)
            self._withheld_chars += len(text)

    def _consume(self, length: int) -> str:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        return text

    # Words

    def _read_opening(self) -> bool:
        """Decide how the answer begins; return whether to continue."""
        blank = len(self._buffer) - len(self._buffer.lstrip())
        self._emit(self._consume(blank))
        if not self._buffer:
            return False
        if _POSSIBLE_MARK.match(self._buffer):
            self._read = self._read_words
            return True
        if self._read_spoken_reasoning():
            return True
        if (length := self._call_length()) > 0:
            block = WrittenBlock(self._buffer[:length], is_wrapped=False)
            self._start_block(length, block, r"\Z")
            return True
        is_reasoning = model_markup.is_reasoning_opening(self._buffer)
        lower = self._buffer.lower()
        may_be_reasoning = any(start.startswith(lower) for start in SPOKEN_REASONING)
        if is_reasoning is None or may_be_reasoning or self._call_length() < 0:
            return False
        if is_reasoning and self._withheld is None:
            self._withheld = []
        self._read = self._read_words
        return True

    def _read_spoken_reasoning(self) -> bool:
        for start, end in SPOKEN_REASONING.values():
            match = start.match(self._buffer)
            if match is not None:
                self._consume(match.end())
                self._reasoning_end, self._read = end, self._read_message_reasoning
                return True
        return False

    def _call_length(self) -> int:
        """Return the length of `name(` if the answer begins so, -1 if it still may, else 0."""
        length = 0
        for name in self._call_names:
            if name.startswith(self._buffer):
                length = -1
            elif self._buffer.startswith(name):
                if (call := _CALL_AFTER_NAME.match(self._buffer, len(name))) is not None:
                    return call.end()
                if _OPEN_CALL_AFTER_NAME.match(self._buffer, len(name)):
                    length = -1
        return length

    def _read_words(self) -> bool:
        """Emit words up to the next mark, and read the mark; return whether to continue."""
        match = _POSSIBLE_MARK.search(self._buffer)
        if match is None:
            self._emit(self._consume(len(self._buffer)))
            return False
        self._emit(self._consume(match.start()))
        if self._buffer[0] in "`~":
            return self._read_fence()
        is_start = not (self.has_words or self._starts_with_words)
        json_start = _POSSIBLE_JSON_START if is_start else _JSON_START
        if json_start.match(self._buffer):
            self._start_block(0, WrittenBlock("", is_wrapped=False), None)
            return True
        if (mark_text := MARK.match(self._buffer)) is not None:
            mark = model_markup.classify_mark(mark_text[0])
            if mark is None or mark.kind == "tag":
                self._emit(self._consume(mark_text.end()))
                return True
            return self._read_mark(mark, self._consume(mark_text.end()))
        is_open = OPEN_MARK.match(self._buffer) or _OPEN_JSON_START.match(self._buffer)
        if is_open and len(self._buffer) <= MAX_OPEN_CHARS:
            return False
        self._emit(self._consume(1))
        return True

    def _read_fence(self) -> bool:
        fence_mark = _CODE_FENCE.match(self._buffer)
        if fence_mark is not None:
            is_language = fence_mark[2].lower() not in _FENCES_WITH_WORDS
            is_code = is_language and self._buffer[fence_mark.end()] in _CODE_STARTS
            self._consume(fence_mark.end())
            self._emit("\n")
            if is_code:
                self._start_block(0, WrittenBlock("", is_wrapped=False), re.escape(fence_mark[1]))
            elif is_language:
                self._emit(f"{fence_mark[2]} ")
            return True
        if _OPEN_FENCE.match(self._buffer) and len(self._buffer) <= MAX_OPEN_CHARS:
            return False
        marks = len(self._buffer) - len(self._buffer.lstrip(self._buffer[0]))
        self._emit(self._consume(marks))
        return True

    def _read_mark(self, mark: Mark, text: str) -> bool:
        self._emit(" ")
        match mark.kind:
            case "reasoning_start":
                self._depth, self._read = 1, self._read_reasoning
            case "reasoning_end":
                self._take_back()
            case "data_start":
                self._start_block(0, None, mark.end)
            case "call_start":
                # The tag itself may have the tool's name; a token has nothing of the call.
                tag = text if text[0] == "<" and text[1] not in "|｜" else ""
                self._start_block(0, WrittenBlock(tag, is_wrapped=True), mark.end)
            case "channel" | "format" | "turn_start":
                self._header_kind, self._read = mark.kind, self._read_header
            case "other_turn":
                self._read = self._read_other_speaker
            case "message" if self._recipient:
                block = WrittenBlock("", is_wrapped=True, name=self._recipient)
                self._recipient = ""
                self._start_block(0, block, _CALL_MESSAGE_END)
        return True

    def _take_back(self) -> None:
        """Discard the words so far: an end mark without a start mark follows reasoning."""
        self.had_unmarked_reasoning = True
        self.has_words = False
        self._blocks = []
        self._output = [UnmarkedReasoning()]
        self._withheld, self._withheld_chars = None, 0
        self._read = self._read_opening

    # Headers of a template's turns and channels

    def _read_header(self) -> bool:
        is_turn = self._header_kind == "turn_start"
        if is_turn and _OPEN_ROLE.match(self._buffer) and len(self._buffer) < _MAX_ROLE_CHARS:
            return False
        role = _ROLE.match(self._buffer) if is_turn else None
        if is_turn and (role is None or role[1] not in model_markup.ROLES):
            self._read = self._read_words
            return True
        end = _HEADER_END.search(self._buffer)
        if end is None and len(self._buffer) <= MAX_OPEN_CHARS:
            return False
        header = self._consume(end.start() if end else MAX_OPEN_CHARS)
        self._consume(end.end() - end.start() if end else 0)
        self._finish_header(header, role[1] if role is not None else "")
        return True

    def _finish_header(self, header: str, role: str) -> None:
        self._read = self._read_words
        if (recipient := _RECIPIENT.search(header)) is not None:
            self._recipient = recipient[1]
        if role in model_markup.OTHER_ROLES:
            self._read = self._read_other_speaker
        elif self._header_kind == "channel" and not self._recipient:
            channel = _ROLE.match(header.lower())
            if channel is not None and channel[1] in model_markup.REASONING_CHANNELS:
                self._reasoning_end, self._read = _NEXT_MESSAGE, self._read_message_reasoning

    def _read_other_speaker(self) -> bool:
        """Skip the words that the model made up for another speaker."""
        return self._skip_until(lambda mark: mark.kind in ("turn_start", "own_turn"))

    # Reasoning

    def _read_reasoning(self) -> bool:
        """Skip reasoning up to the end mark that belongs to the start mark."""
        position = 0
        while (match := MARK.search(self._buffer, position)) is not None:
            mark = model_markup.classify_mark(match[0])
            self._keep_after_inner_end(self._buffer[position : match.start()])
            position = match.end()
            if mark is not None and mark.kind == "reasoning_start":
                self._depth, self._after_inner_end = self._depth + 1, None
            elif mark is not None and mark.kind == "reasoning_end":
                self._depth -= 1
                self._after_inner_end = "" if self._depth else None
                if not self._depth:
                    self._consume(position)
                    self._emit(" ")
                    self._read = self._read_opening if not self.has_words else self._read_words
                    return True
            else:
                self._keep_after_inner_end(match[0])
        tail = model_markup.open_mark_start(self._buffer, position)
        self._keep_after_inner_end(self._buffer[position:tail])
        self._consume(tail)
        return False

    def _keep_after_inner_end(self, text: str) -> None:
        if self._after_inner_end is not None and len(self._after_inner_end) < MAX_WITHHELD_CHARS:
            self._after_inner_end += text

    def _read_message_reasoning(self) -> bool:
        """Skip reasoning up to a pattern; a special token that ends it is read again."""
        end = self._reasoning_end.search(self._buffer)
        if end is None:
            self._consume(max(0, len(self._buffer) - 40))
            return False
        self._consume(end.start() if end[0].startswith("<") else end.end())
        self._read = self._read_words
        return True

    def _skip_until(self, is_end: Callable[[Mark], bool]) -> bool:
        position = 0
        while (match := MARK.search(self._buffer, position)) is not None:
            mark = model_markup.classify_mark(match[0])
            if mark is not None and is_end(mark):
                self._consume(match.start())
                self._read = self._read_words
                return True
            position = match.end()
        self._consume(model_markup.open_mark_start(self._buffer, position))
        return False

    # Blocks

    def _start_block(self, consumed: int, block: WrittenBlock | None, end: str | None) -> None:
        """Collect a block up to the pattern, or to the end of a JSON value if it is None."""
        self._consume(consumed)
        self._block, self._read = block, self._read_block
        self._block_end = BlockEnd(end)

    def _read_block(self) -> bool:
        end = self._block_end.find(self._buffer)
        if end is None:
            if len(self._buffer) > MAX_ARGUMENTS_CHARS:  # too long for a call
                self._block = None
                excess = len(self._buffer) - MAX_OPEN_CHARS
                self._consume(excess)
                self._block_end.forget(excess)
            return False
        text = self._consume(end[0])
        self._consume(end[1] - end[0])
        self._finish_block(text)
        return True

    def _finish_block(self, text: str) -> None:
        """Store a block that may be a call; a block that turns out not to be JSON is words."""
        block, self._read = self._block, self._read_words
        if block is None:
            return
        is_json = _JSON_START.match(text) or re.match(r"\{\s*\w+\s*:|\[", text)
        if self._block_end.is_json and not is_json:
            self._starts_with_words = True
            self._emit(text[0])
            self._buffer = text[1:] + self._buffer
        elif len(block.text) + len(text) < MAX_ARGUMENTS_CHARS:
            self._blocks.append(replace(block, text=block.text + text))

    def _finish_read(self) -> None:
        """Handle the text that is incomplete at the end of the answer."""
        while self._buffer and self._read():
            pass
        if self._read == self._read_block:
            self._finish_block(self._consume(len(self._buffer)))
            if self._buffer:  # words after all
                self._finish_read()
        elif (
            self._buffer
            and self._read in (self._read_words, self._read_opening)
            and not model_markup.is_cut_mark(self._buffer)
        ):
            # Not a mark after all, but there may be one behind its first character.
            self._read = self._read_words
            self._emit(self._consume(1))
            self._finish_read()
        self._buffer = ""
