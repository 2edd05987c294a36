"""What fails once an answer of events has begun: told as its last event, a problem document."""

from collections.abc import Iterable, Iterator

from flask import Flask, Response, current_app, stream_with_context

from vca.kit.web import events
from vca.kit.web.events import EventStream


def install(app: Flask) -> None:
    """Watch over every answer of events."""
    app.after_request(_watched)


def _watched(response: Response) -> Response:
    if isinstance(response, EventStream):
        response.response = stream_with_context(_told(response.response))  # type: ignore[arg-type] # bytes
    return response


def _told(stream: Iterable[bytes]) -> Iterator[bytes]:
    """The status was sent long ago; what is ours alone also ends the connection."""
    try:
        yield from stream
    except Exception as error:
        problem = current_app.make_response(current_app.handle_user_exception(error))
        yield events.written(("error", problem.get_json()))
        if problem.status_code == 500:
            raise
