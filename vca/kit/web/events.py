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


def answer(events: Generator[Event, None, None]) -> EventStream:
    """Events as they come, in the time that the request has.

    The first is waited for: what fails before it is raised here, and is an answer of its own. A
    client that goes away closes the generator.
    """
    steps = _Steps(events)
    response = EventStream(steps, headers=_HEADERS)
    response.call_on_close(steps.close)  # also when nobody has begun to read
    return response


def wanted(asked: Request) -> bool:
    """Whether the client would rather have events than JSON."""
    known = ["application/json", MIME_TYPE]  # the first is for those who do not say
    return asked.accept_mimetypes.best_match(known) == MIME_TYPE


def described(examples: Mapping[str, Any]) -> dict[str, Any]:
    """How the OpenAPI document shows a stream of these events."""
    shown = b"".join(map(written, examples.items()))
    return {"schema": {"type": "string"}, "example": shown.decode()}


def written(event: Event) -> bytes:
    """An event as it goes over the line; JSON has no line breaks of its own."""
    name, told = event
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(told))


class _Steps:
    """Goes on where the request was: with its budget, and its ids for the log.

    Both live in the context, which is no longer the server's while it writes the answer.
    """

    def __init__(self, events: Generator[Event, None, None]) -> None:
        self._events = events
        self._context = copy_context()
        self._first: Event | None = self._context.run(next, events)

    def __iter__(self) -> "_Steps":
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return written(first or self._context.run(next, self._events))

    def close(self) -> None:
        """Stop early; nothing once it has ended."""
        self._context.run(self._events.close)
