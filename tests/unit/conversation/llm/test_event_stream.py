"""Reading the events of a response: every way in which servers write them."""

import pytest

from vca.conversation.llm.event_stream import MAX_LINE_BYTES, EventReader

A, B = {"a": 1}, {"b": 2}


def read_events(*parts: bytes) -> list[dict[str, object]]:
    reader = EventReader()
    return [event for part in parts for event in reader.feed(part)] + reader.finish()


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
        b'data:{"a":1}\n\ndata:{"b":2}\n\ndata:[DONE]',
        b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\n',
        b'data: {"a":1}\r\rdata: {"b":2}\r\r',
        b'data: {"a":1}\n\ndata: {"b":2}',
        b'data: {"a":1}\ndata: {"b":2}\n',
        b'\xef\xbb\xbfdata: {"a":1}\n\ndata: {"b":2}\n\n',
        b': ping\n\ndata: {"a":1}\n\n: ping\n\ndata: {"b":2}\n\n',
        b'id: 1\ndata: {"a":1}\n\nid: 2\n\ndata: {"b":2}\n\n',
        b'retry: 3000\n\nevent: x\ndata: {"a":1}\n\nevent: y\ndata: {"b":2}\n\n',
        b'data:\n\ndata: {"a":1}\n\ndata: \n\ndata: {"b":2}\n\n',
        b'data: : keepalive\n\ndata: {"a":1}\n\ndata: ping\n\ndata: {"b":2}\n\n',
        b'data: {"a":\n\ndata: {"a":1}\n\ndata: 5\n\ndata: "x"\n\ndata: null\n\ndata: {"b":2}\n',
        b'data: {\ndata: "a": 1\ndata: }\n\ndata: {"b":2}\n\n',
        b'data: [{"a":1},{"b":2}]\n\n',
        b'{"a":1}\n{"b":2}\n',
        b'\n\n\n{"a":1}\ndata: {"b":2}\n\ndata: [DONE]\n\n',
        b'{\n  "a": 1\n}\n\ndata: {"b":2}\n\n',
        b'[{\n  "a": 1\n},\n{"b": 2}\n]',
        b'data: {"a":1}\n\n{"b":2}\n',
    ],
)
def test_two_events_are_read(body: bytes) -> None:
    assert read_events(body) == [A, B]
    assert read_events(*(bytes([byte]) for byte in body)) == [A, B]


def test_an_event_is_complete_with_its_line() -> None:
    reader = EventReader()

    assert reader.feed(b'data: {"a":1}') == []
    assert reader.feed(b"\r") == [A]
    assert reader.feed(b'\n\r\ndata: {"b":2}\n') == [B]


def test_nothing_is_read_after_done() -> None:
    reader = EventReader()

    assert reader.feed(b'data: {"a":1}\n\ndata: [DONE]\n\ndata: {"b":2}\n\n') == [A]
    assert reader.done
    assert reader.feed(b'data: {"b":2}\n\n') == []
    assert reader.finish() == []


@pytest.mark.parametrize(
    "data", [b'{"message":"no"}', b'{"error":{"message":"no"}}', b'{\ndata: "message":"no"}']
)
def test_an_error_event_is_marked(data: bytes) -> None:
    (event, other_event) = read_events(b"event: error\ndata: " + data + b"\n\n" + b'data: {"a":1}')

    error = event["error"]
    assert isinstance(error, dict)
    assert error["message"] == "no"
    assert other_event == A


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"a":NaN,"b":1}', 1),
        (b'{"b":"caf\xff\xc3\xa9"}', "café"),
        (b'{"b":"x\\ud83d"}', "x"),
        (b'{"b":"\\ud83d\\ude00\\\\ud83d"}', "😀\\ud83d"),
    ],
)
def test_careless_json_is_read_without_invalid_characters(line: bytes, event: object) -> None:
    (read_event,) = read_events(b"data: " + line + b"\n\n")

    assert read_event["b"] == event


def test_a_line_that_is_too_long_is_skipped_with_bounded_memory() -> None:
    reader = EventReader()
    filler = b"x" * 65_536

    assert reader.feed(b'data: {"a":1}\n\ndata: {"text": "') == [A]
    for _ in range(160):
        assert reader.feed(filler) == []
    assert len(reader._partial_line._parts) * len(filler) <= MAX_LINE_BYTES + len(filler)
    assert reader.feed(b'"}\n\ndata: {"b":2}\n\n') == [B]


@pytest.mark.parametrize("part", [b"\n", b"data: x\n", b"{\n", b"[\n"])
def test_a_response_without_events_is_read_in_linear_time_and_bounded_memory(part: bytes) -> None:
    reader = EventReader()

    for _ in range(200):
        assert reader.feed(part * 4_096) == []

    assert reader.finish() == []
