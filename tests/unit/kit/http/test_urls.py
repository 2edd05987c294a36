"""Tests of URL parsing and of the URL policy."""

from ipaddress import ip_address

import pytest

from vca.kit.addresses import parse_networks
from vca.kit.http import RequestForbidden, UrlPolicy
from vca.kit.http.urls import parse


@pytest.mark.parametrize(
    ("url", "scheme", "authority", "port", "path"),
    [
        ("https://example.com", "https", "example.com", 443, "/"),
        ("HTTPS://Example.COM/Hooks?a=%2F", "https", "example.com", 443, "/Hooks?a=%2F"),
        ("https://example.com?a=b", "https", "example.com", 443, "/?a=b"),
        ("https://example.com:443/", "https", "example.com", 443, "/"),
        ("https://example.com:8443/a/../b", "https", "example.com:8443", 8443, "/a/../b"),
        ("http://example.com:80/a@b:c", "http", "example.com", 80, "/a@b:c"),
        ("https://xn--mller-kva.example/", "https", "xn--mller-kva.example", 443, "/"),
        ("https://8.8.8.8/", "https", "8.8.8.8", 443, "/"),
        ("https://[2606:4700::1111]/", "https", "[2606:4700::1111]", 443, "/"),
        ("https://[2606:4700:0:0::1111]:99/", "https", "[2606:4700::1111]:99", 99, "/"),
        ("https://4chan.example/", "https", "4chan.example", 443, "/"),
        ("http://crm/", "http", "crm", 80, "/"),
    ],
)
def test_a_valid_url_is_parsed(url: str, scheme: str, authority: str, port: int, path: str) -> None:
    target = parse(url)

    assert (target.scheme, target.authority, target.port, target.path) == (
        scheme,
        authority,
        port,
        path,
    )
    assert (target.address is None) == (not any(host in url for host in ("8.8.8.8", "[")))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.256",
        "1.2.3.4.5",
        "example.com.",
        "localhost.",
        ".example.com",
        "example..com",
        "-example.com",
        "example-.com",
        "ex_ample.com",
        "example.123",
        "[127.0.0.1]",
        "[::1",
        "::1",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[v1.x]",
        "[]",
        "[::1]x",
        "[[::1]]",
        "127.0.0.1%00.example.com",
        "%31%32%37.0.0.1",
        "loc%61lhost",
        "",
        "*",
        "a" * 64,
        ".".join(["a" * 49] * 6),
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "ｌocalhost",
        "müller.example",
        "exa\u00admple.com",
        "example.com\u2024evil.example",
        "127.0.0.١",
    ],
)
def test_a_host_in_an_unusual_notation_is_rejected(host: str) -> None:
    for url in (f"https://{host}/", f"https://{host}:443/", f"https://{host}"):
        with pytest.raises(RequestForbidden):
            parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://example.com:443@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://127.0.0.1\\.example.com/",
        "https:\\\\example.com/",
        "https:/example.com/",
        "https:example.com",
        "//example.com/",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "unix:///var/run/docker.sock",
        "javascript:alert(1)",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:00443/",
        "https://example.com:65536/",
        "https://example.com:99999999999999999999/",
        "https://example.com:-1/",
        "https://example.com:+443/",
        "https://example.com:4 43/",
        "https://example.com:https/",
        "https://example.com:٤٤٣/",
        "https://example.com:443:443/",
        "https://example.com/#part",
        "https://example.com#@127.0.0.1/",
        "https://example.com/ HTTP/1.1\r\nX: y",
        "https://example.com/\r\nHost: 127.0.0.1",
        "https://exam\tple.com/",
        "https://exam\nple.com/",
        "https://example.com/\n",
        "https://example.com/\x00",
        " https://example.com/",
        "https://example.com/ä",
        "https://example.com/\ud800",
        "https://example.com/" + "x" * 2000,
        "",
    ],
)
def test_an_ambiguous_url_is_rejected(url: str) -> None:
    with pytest.raises(RequestForbidden) as raised:
        parse(url)

    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("example.com", "Must be a URL such as https://example.com/hooks"),
        ("ftp://example.com/", "Must start with https://."),
        ("https://user:password@example.com/", "Must not contain a user name or password."),
        ("https://example.com/#part", "Must not contain a fragment"),
        ("https://example.com:0/", "Must contain a valid host and optionally a port."),
        ("https://127.1/", "The host must be a name or an address in standard notation."),
        ("https://127.0.0.1/", "The URL resolves to an address that is not public."),
        ("https://8.8.8.8:22/", "The port must be one of 80, 443, 8080, 8443."),
    ],
)
def test_the_error_message_explains_what_is_wrong_with_the_url(url: str, reason: str) -> None:
    with pytest.raises(RequestForbidden) as raised:
        UrlPolicy().parse_url(url)

    assert str(raised.value).startswith(reason)


def test_http_requires_permission() -> None:
    with pytest.raises(RequestForbidden, match="https"):
        UrlPolicy().parse_url("http://example.com/")

    assert UrlPolicy(allow_http=True).parse_url("http://example.com/").scheme == "http"


def test_allowed_networks_allow_any_port_and_others_the_usual_ones() -> None:
    policy = UrlPolicy(parse_networks("10.1.0.0/16"))

    assert policy.parse_url("https://8.8.8.8:8443/").port == 8443
    assert policy.parse_url("https://10.1.2.3:25/").port == 25
    for url in ("https://8.8.8.8:22/", "https://8.8.8.8:25/", "https://[2606:4700::1]:6379/"):
        with pytest.raises(RequestForbidden, match="port"):
            policy.parse_url(url)


def test_an_allowed_network_allows_only_its_own_addresses() -> None:
    policy = UrlPolicy(parse_networks("10.1.0.0/16, fd00:1::/32, fe80::/10"))

    policy.parse_url("https://10.1.0.0/")
    policy.parse_url("https://[fd00:1::9]/")
    for host in ("10.2.0.1", "[::ffff:10.1.0.1]", "[::10.1.0.1]", "[64:ff9b::10.1.0.1]", "[::1]"):
        with pytest.raises(RequestForbidden, match="not public"):
            policy.parse_url(f"https://{host}/")
    with pytest.raises(RequestForbidden, match="not public"):
        policy.check_addresses([ip_address("fe80::1%eth0")], 443)
    policy.check_addresses([ip_address("fe80::1")], 443)
