"""Read the events of a model's response, in whichever way its server writes them.

The format is that of server-sent events, read tolerantly: servers and the gateways in front of them
send keepalives, leave out blank lines and `[DONE]`, or answer with one JSON document instead of a
stream. Anything but a JSON object is skipped, so a malformed event does not affect the others.
"""

from typing import Any, TypeAlias

from vca.kit import json

Event: TypeAlias = dict[str, Any]

MAX_LINE_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Turns the bytes of a response into events, however they are split."""

    def __init__(self) -> None:
        self.done = False
        """Whether the server sent `[DONE]`; whatever follows it is ignored."""
        self._partial_line = _BoundedParts()
        self._ends_with_cr = False
        self._is_start = True
        self._document: _BoundedParts | None = None
        self._data_lines = _BoundedParts()
        self._is_error_event = False
        self._is_open = False
        """Whether an event has begun and not ended: only then does a blank line mean anything."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that are complete with these bytes."""
        if self._ends_with_cr or b"\r" in data:
            data = self._normalise_line_ends(data)
        head, separator, rest = data.rpartition(b"\n")
        if not separator:
            self._partial_line.add(rest)
            return []
        lines = head.split(b"\n")
        if self._partial_line:
            self._partial_line.add(lines[0])
            lines[0] = self._partial_line.take(b"")
        if rest:
            self._partial_line.add(rest)
        return self._read_lines(lines)

    def finish(self) -> list[Event]:
        """Return the events that are complete because the response has ended."""
        events = self._read_lines([self._partial_line.take(b"")])
        events += self._end_event()
        return [*events, *self._end_document()]

    def _normalise_line_ends(self, data: bytes) -> bytes:
        """Replace CR and CRLF by LF; a CRLF may be split between two calls."""
        if self._ends_with_cr and data.startswith(b"\n"):
            data = data[1:]
            self._ends_with_cr = False
        if data:
            self._ends_with_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read_lines(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if self.done:
                break
            if line.startswith(b"data:"):
                self._read_data(line[5:], events)
            elif line:
                events += self._read_other_line(line)
            elif self._is_open:
                events += self._end_event()
        return events

    def _read_data(self, data: bytes, events: list[Event]) -> None:
        """Append the events of one data line.

        An event may have several data lines. Most servers write it in one, and some of them put no
        blank line between two events, so a line that is complete in itself is an event.
        """
        self._is_start = False
        if self._document is not None:
            events += self._end_document()
        data = data.strip()
        if data.startswith(b"[DONE]"):
            self.done = True
            events += self._end_event()
        elif line_events := _parse_events(data):
            self._data_lines.clear()
            events += self._mark_errors(line_events) if self._is_error_event else line_events
        elif data:
            self._data_lines.add(data)
            self._is_open = True

    def _read_other_line(self, line: bytes) -> list[Event]:
        """Read a line that is neither data nor blank: another field, a comment, or bare JSON."""
        if line.startswith(_BYTE_ORDER_MARK):
            return self._read_lines([line.removeprefix(_BYTE_ORDER_MARK)])
        if self._document is not None:
            self._document.add(line)
            return []
        line = line.strip()
        events: list[Event] = []
        if line.startswith((b"{", b"[")):
            events = _parse_events(line)
            if self._is_start and not events:
                self._document = _BoundedParts()
                self._document.add(line)
        elif line.startswith(b"event:"):
            self._is_error_event = line[6:].strip() == b"error"
            self._is_open = True
        self._is_start = self._is_start and not line
        return self._mark_errors(events)

    def _end_event(self) -> list[Event]:
        """Return the event whose data was split into several lines."""
        events = _parse_events(self._data_lines.take(b"\n")) if self._data_lines else []
        events = self._mark_errors(events)
        self._is_error_event = self._is_open = False
        return events

    def _end_document(self) -> list[Event]:
        """Return the events of a response that is not an event stream."""
        document, self._document = self._document, None
        return [] if document is None else _parse_events(document.take(b"\n"))

    def _mark_errors(self, events: list[Event]) -> list[Event]:
        if not self._is_error_event:
            return events
        return [event if "error" in event else {"error": event} for event in events]


class _BoundedParts:
    """Parts of one text that is discarded as a whole if it becomes too long."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        return self._size > 0

    def add(self, part: bytes) -> None:
        # Empty parts have a size too: their number is bounded as well.
        self._size += len(part) + 1
        if self._size <= MAX_LINE_BYTES:
            self._parts.append(part)

    def take(self, separator: bytes) -> bytes:
        """Return the joined parts, empty if they were too long, and forget them."""
        text = separator.join(self._parts) if self._size <= MAX_LINE_BYTES else b""
        self.clear()
        return text

    def clear(self) -> None:
        if self._size:
            self._parts, self._size = [], 0


def _parse_events(data: bytes) -> list[Event]:
    """Return the JSON object, or the objects of a JSON array; nothing for anything else."""
    if not data:
        return []
    try:
        value = json.loads_tolerant(data)
    except json.InvalidJson:
        return []
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
