"""An S3 server on loopback, with one bucket."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from unittest import mock

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

BUCKET = "recordings-of-the-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server and yield its URL. All servers of a process share their contents."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        with mock.patch.dict("os.environ", CREDENTIALS):
            client = boto3.session.Session().client("s3", endpoint_url=url, region_name="eu-west-1")
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):  # by an earlier server
                client.create_bucket(
                    Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
                )
        yield url
    finally:
        server.stop()


def add_empty_objects(keys: Iterable[str]) -> None:
    """Add empty objects to the server's memory, which is faster than thousands of uploads."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key in keys:
        backend.put_object(BUCKET, key, b"")
