"""Report an error in a started event stream as its last event, a problem document."""

from collections.abc import Iterable, Iterator

from flask import Flask, Response, current_app, stream_with_context

from vca.kit.web import sse
from vca.kit.web.sse import EventStream


def install(app: Flask) -> None:
    """Wrap every event stream of the app."""
    app.after_request(_wrap_stream)


def _wrap_stream(response: Response) -> Response:
    if isinstance(response, EventStream):
        response.response = stream_with_context(_with_error_event(response.response))  # type: ignore[arg-type] # bytes
    return response


def _with_error_event(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the stream; if it fails, yield the error as its last event.

    The status was sent before. An unexpected error also ends the connection.
    """
    try:
        yield from stream
    except Exception as error:
        problem = current_app.make_response(current_app.handle_user_exception(error))
        yield sse.encode_event(("error", problem.get_json()))
        if problem.status_code == 500:
            raise
