"""Server-sent events: an answer that goes on while what it tells is still being made."""

from collections.abc import Generator, Mapping
from contextvars import copy_context
from typing import Any

from flask import Request, Response

from vca.kit import json

Event = tuple[str, Any]  # its name, and what JSON can hold
MIME_TYPE = "text/event-stream"
# A proxy that collects an answer before it passes it on would make a stream pointless.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """An answer of events. What fails after it has begun is for the edge to tell."""

    default_mimetype = MIME_TYPE


def stream_response(events: Generator[Event, None, None]) -> EventStream:
    """Events as they come, in the time that the request has.

    The first is waited for: what fails before it is raised here, and is an answer of its own. A
    client that goes away closes the generator.
    """
    encoded = _EncodedEvents(events)
    response = EventStream(encoded, headers=_HEADERS)
    response.call_on_close(encoded.close)  # also when nobody has begun to read
    return response


def prefers_event_stream(request: Request) -> bool:
    """Whether the client would rather have events than JSON."""
    media_types = ["application/json", MIME_TYPE]  # the first is for those who do not say
    return request.accept_mimetypes.best_match(media_types) == MIME_TYPE


def openapi_content(examples: Mapping[str, Any]) -> dict[str, Any]:
    """How the OpenAPI document shows a stream of these events."""
    example = b"".join(map(encode_event, examples.items()))
    return {"schema": {"type": "string"}, "example": example.decode()}


def encode_event(event: Event) -> bytes:
    """An event as it goes over the line; JSON has no line breaks of its own."""
    name, data = event
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data))


class _EncodedEvents:
    """Goes on where the request was: with its budget, and its ids for the log.

    Both live in the context, which is no longer the server's while it writes the answer.
    """

    def __init__(self, events: Generator[Event, None, None]) -> None:
        self._events = events
        self._context = copy_context()
        self._first: Event | None = self._context.run(next, events)

    def __iter__(self) -> "_EncodedEvents":
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return encode_event(first or self._context.run(next, self._events))

    def close(self) -> None:
        """Stop early; nothing once it has ended."""
        self._context.run(self._events.close)
