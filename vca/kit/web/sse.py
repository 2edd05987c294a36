"""Server-sent events: a response that is streamed while its content is produced."""

from collections.abc import Generator, Mapping
from contextvars import copy_context
from typing import Any

from flask import Request, Response

from vca.kit import json

Event = tuple[str, Any]  # name and JSON-serialisable data
MIME_TYPE = "text/event-stream"
# A proxy that buffers the response would defeat streaming.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """A response of server-sent events. The API layer reports errors that occur midway."""

    default_mimetype = MIME_TYPE


def stream_response(events: Generator[Event, None, None]) -> EventStream:
    """Return a response that sends events as they are produced, within the request's time budget.

    It waits for the first event. An error before that is raised here, so it becomes an ordinary
    error response. If the client disconnects, the generator is closed.
    """
    encoded = _EncodedEvents(events)
    response = EventStream(encoded, headers=_HEADERS)
    response.call_on_close(encoded.close)  # also called if the response was never iterated
    return response


def prefers_event_stream(request: Request) -> bool:
    """Return whether the client prefers server-sent events to JSON."""
    media_types = ["application/json", MIME_TYPE]  # JSON is the default
    return request.accept_mimetypes.best_match(media_types) == MIME_TYPE


def openapi_content(examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI media type object of a stream of these events."""
    example = b"".join(map(encode_event, examples.items()))
    return {"schema": {"type": "string"}, "example": example.decode()}


def encode_event(event: Event) -> bytes:
    """Return the event as bytes of the stream; JSON contains no line breaks."""
    name, data = event
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data))


class _EncodedEvents:
    """Runs the generator in the context of the request, with its time budget and log ids.

    Both are context variables, which the server no longer has while it writes the response.
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
        """Stop the generator; does nothing if it has ended."""
        self._context.run(self._events.close)
