"""Tests of the methods and limits of requests that the outgoing HTTP client sends."""

import pytest

from tests.fakes.http_receiver import HttpReceiver, reply_with
from tests.integration.kit.http.conftest import JSON, NAME, build_url, create_loopback_client
from vca.kit.http import RequestForbidden, client


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "POST"])
def test_a_request_with_any_method_is_sent(method: str, server: HttpReceiver) -> None:
    server.behaviour = reply_with(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")

    response = create_loopback_client().request(method, build_url(NAME, server.port), {})

    assert response.status == 204
    [request] = server.requests
    assert request.startswith(method.encode() + b" / HTTP/1.1\r\n")
    # RFC 9110, 8.6: a method that expects a body says that it has none.
    has_length = method not in ("GET", "HEAD", "OPTIONS")
    assert (b"Content-Length: 0\r\n" in request) is has_length


def test_a_response_to_head_has_no_body(server: HttpReceiver) -> None:
    server.behaviour = reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")

    response = create_loopback_client().request("HEAD", build_url(NAME, server.port), {})

    assert (response.status, response.body, response.complete) == (200, b"", True)


@pytest.mark.parametrize("method", ["CONNECT", "GET /", "G\r\nET", "", "GÉT"])
def test_a_method_that_is_not_allowed_is_rejected_before_sending(
    method: str, server: HttpReceiver
) -> None:
    with pytest.raises(RequestForbidden, match="method"):
        create_loopback_client().request(method, build_url(NAME, server.port), {})

    assert server.is_unvisited()


def test_a_too_large_request_is_rejected_before_sending(
    server: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_REQUEST_BYTES", 100)
    url = build_url(NAME, server.port)

    with pytest.raises(RequestForbidden, match="too large"):
        create_loopback_client().post(url, b"x" * 101, JSON)

    assert server.is_unvisited()
    assert create_loopback_client().post(url, b"x" * 100, JSON).status == 200


@pytest.mark.parametrize(("size", "complete"), [(90_000, True), (120_000, False)])
def test_a_request_sets_the_limit_of_its_response(
    size: int, complete: bool, server: HttpReceiver
) -> None:
    server.behaviour = reply_with(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )

    response = create_loopback_client().request(
        "GET", build_url(NAME, server.port), {}, max_bytes=100_000
    )

    assert response.complete is complete
