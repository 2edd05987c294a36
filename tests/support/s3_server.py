"""An S3 server on loopback, with one bucket."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from threading import Lock, Thread
from typing import Any
from unittest import mock

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

BUCKET = "recordings-of-the-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server and yield its URL. All servers of a process share their contents."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with mock.patch.dict("os.environ", CREDENTIALS):
            client = boto3.session.Session().client("s3", endpoint_url=url, region_name="eu-west-1")
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):  # by an earlier server
                client.create_bucket(
                    Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
                )
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _OneAtATime:
    """moto's application, which gets a request whole and finishes it before the next one.

    moto closes an object's content when another request overwrites the object, while the response
    about the first content still reads it. In S3 both requests succeed.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))
        with self._lock:
            return self._app(environ, start_response)


def add_empty_objects(keys: Iterable[str]) -> None:
    """Add empty objects to the server's memory, which is faster than thousands of uploads."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key in keys:
        backend.put_object(BUCKET, key, b"")
