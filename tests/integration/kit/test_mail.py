"""Tests of the mailer with a server on loopback: delivery, errors, timeouts and encryption."""

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from smtplib import SMTPNotSupportedError
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.smtp_server import PASSWORD, USER, client_context, smtp_server
from vca.app import mailer as configured_mailer
from vca.kit import deadline
from vca.kit.mail import Mail, Mailer, MailError
from vca.settings import Settings, SettingsError, read_settings

SENDER = "vca@example.com"
TIMEOUT_S = 20.0
WRITTEN_AT = datetime(2026, 11, 22, 18, tzinfo=UTC)


def _mail(**changes: Any) -> Mail:
    fields = {
        "to": "desk@acme.example",
        "subject": "Message from Jane",
        "text": "Grüße, 請回電 🚑\n",
        "message_key": "message-1",
        "written_at": WRITTEN_AT,
    }
    return Mail(**{**fields, **changes})


def _send_failing(mailer: Mailer, mail: Mail | None = None) -> MailError:
    with pytest.raises(MailError) as raised:
        mailer.send(mail or _mail())
    return raised.value


def test_a_mail_arrives_unchanged() -> None:
    with smtp_server() as mail_server:
        Mailer(mail_server.url, SENDER).send(_mail())

        [mail] = mail_server.messages
        assert mail_server.envelopes == [(SENDER, ["desk@acme.example"], False)]
    assert (mail["From"], mail["To"]) == (SENDER, "desk@acme.example")
    assert mail["Subject"] == "Message from Jane"
    assert mail["Message-ID"] == "<message-1@example.com>"
    assert mail["Date"] == "Sun, 22 Nov 2026 18:00:00 +0000"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content_charset() == "utf-8"
    assert mail.get_content().replace("\r\n", "\n") == "Grüße, 請回電 🚑\n"


@pytest.mark.parametrize(
    "subject",
    [
        "Jane\r\nBcc: everybody@example.com",
        "Jane\nBcc: everybody@example.com",
        "Jane\r\n\r\nAnother body",
        "Jane\rBcc: x@example.com",
        "Jane\x00\x0b\x0c\x85\u2028Bcc: x@example.com",
        "=?utf-8?q?Jane=0D=0ABcc=3A_x=40example.com?=",
        "x" * 10_000,
        "\ud800 lone",
        "",
    ],
)
def test_a_subject_cannot_inject_headers(subject: str) -> None:
    with smtp_server() as mail_server:
        Mailer(mail_server.url, SENDER).send(_mail(subject=subject, text=f"{subject}\r\n.\r\nQUIT"))

        [mail] = mail_server.messages
    assert {name.lower() for name in mail} == {
        "to",
        "from",
        "subject",
        "date",
        "message-id",
        "auto-submitted",
        "content-type",
        "content-transfer-encoding",
        "mime-version",
    }
    assert mail_server.envelopes[0][1] == ["desk@acme.example"]
    assert mail.get_content().replace("\r\n", "\n").rstrip().endswith(".\nQUIT")


@pytest.mark.parametrize(
    "to",
    [
        "",
        "nobody",
        "a@b, c@d",
        "a@b\r\nBcc: c@d",
        "a b@c",
        "<a@b>",
        "@",
        "a@b>",
        "(a)",
        "=?utf-8?q?a=0D=0ABcc:?=@b",
        "=?utf-8?q?a?=@example.com",
        "büro@example.com",
        "a@[192.0.2.1]",
        '"a b"@example.com',
    ],
)
def test_an_invalid_address_is_a_permanent_error_and_nothing_is_sent(to: str) -> None:
    with smtp_server() as mail_server:
        assert _send_failing(Mailer(mail_server.url, SENDER), _mail(to=to)).permanent

        assert mail_server.messages == []


@pytest.mark.parametrize(
    ("encryption", "is_encrypted"), [("starttls", True), ("tls", True), ("", False)]
)
def test_the_url_selects_encryption_and_login(encryption: str, is_encrypted: bool) -> None:
    options = {encryption: True} if encryption else {}
    login = (
        f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@" if encryption == "starttls" else ""
    )
    with smtp_server(login=bool(login), **options) as mail_server:
        url = mail_server.url.replace("//", f"//{login}")

        Mailer(url, SENDER, tls_context=client_context()).send(_mail())

        assert mail_server.envelopes[0][2] is is_encrypted


def test_a_wrong_password_is_a_temporary_error() -> None:
    with smtp_server(starttls=True, login=True) as mail_server:
        url = mail_server.url.replace("//", "//vca:wrong@")

        error = _send_failing(Mailer(url, SENDER, tls_context=client_context()))

        assert (error.permanent, error.code) == (False, 535), error.__cause__


def test_a_server_without_starttls_gets_no_unencrypted_mail() -> None:
    with smtp_server() as mail_server:
        url = mail_server.url.replace("smtp:", "smtp+starttls:")

        error = _send_failing(Mailer(url, SENDER, tls_context=client_context()))

        assert not error.permanent
        assert mail_server.messages == []


def test_a_mail_is_not_sent_to_a_server_with_an_untrusted_certificate() -> None:
    with smtp_server(starttls=True) as mail_server:
        error = _send_failing(Mailer(mail_server.url, SENDER))

        assert not error.permanent
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert mail_server.messages == []


@pytest.mark.parametrize(
    ("reply", "permanent"),
    [("550 no such mailbox", True), ("554 spam", True), ("451 later", False), ("421 bye", False)],
)
@pytest.mark.parametrize("command", ["recipient", "data"])
def test_the_reply_code_of_the_server_decides_whether_to_retry(
    command: str, reply: str, permanent: bool
) -> None:
    with smtp_server() as mail_server:
        if command == "recipient":
            mail_server.recipient_answer = reply
        else:
            mail_server.answers.append(reply)

        error = _send_failing(Mailer(mail_server.url, SENDER))

        assert (error.permanent, error.code) == (permanent, int(reply[:3]))
        assert "acme" not in str(error)


def test_a_sender_may_have_an_international_domain() -> None:
    with smtp_server() as mail_server:
        Mailer(mail_server.url, "vca@münchen.de").send(_mail())

        [mail] = mail_server.messages
    assert mail_server.envelopes[0][0] == mail["From"] == "vca@xn--mnchen-3ya.de"
    assert mail["Message-ID"] == "<message-1@xn--mnchen-3ya.de>"


@pytest.mark.parametrize(
    "error", [SMTPNotSupportedError("SMTPUTF8"), UnicodeEncodeError("ascii", "ü", 0, 1, "x")]
)
def test_what_the_server_cannot_transmit_is_a_permanent_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail_to_send(*_: object, **__: object) -> None:
        raise error

    with smtp_server() as mail_server:
        monkeypatch.setattr(smtplib.SMTP, "send_message", fail_to_send)

        assert _send_failing(Mailer(mail_server.url, SENDER)).permanent


def test_an_unreachable_server_is_a_temporary_error() -> None:
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{unused_socket.getsockname()[1]}"

        assert not _send_failing(Mailer(url, SENDER)).permanent


def _stay_silent(connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(TIMEOUT_S)


def _drip(connection: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        connection.sendall(b"220-x\r\n")


def _hang_after_greeting(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(b"220 hello\r\n")
    stop.wait(TIMEOUT_S)


@pytest.mark.parametrize("behaviour", [_stay_silent, _drip, _hang_after_greeting])
@pytest.mark.parametrize("limit", ["mailer timeout", "job deadline"])
def test_a_hanging_or_slow_server_times_out(
    behaviour: Callable[[socket.socket, threading.Event], None], limit: str
) -> None:
    stop, done = threading.Event(), threading.Event()
    errors: list[MailError] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    behaviour(connection, stop)
                except OSError:
                    return  # the mailer closed the connection

        def send() -> None:
            total_s, job_s = (0.5, 600) if limit == "mailer timeout" else (600, 0.5)
            mailer = Mailer(url, SENDER, timeout_s=30, total_timeout_s=total_s)
            with deadline.within(job_s):
                errors.append(_send_failing(mailer))
            done.set()

        threads = [threading.Thread(target=target, daemon=True) for target in (serve, send)]
        for thread in threads:
            thread.start()

        assert done.wait(TIMEOUT_S)
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    assert not errors[0].permanent


_REQUIRED_SETTINGS = {
    "DATABASE_URL": "postgresql://localhost/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
}


def _settings(**environment: str) -> Settings:
    return read_settings({**_REQUIRED_SETTINGS, **environment})


def test_without_a_server_url_there_is_no_mailer() -> None:
    assert configured_mailer(_settings()) is None
    assert configured_mailer(_settings(SMTP_URL="smtp://localhost", MAIL_FROM=SENDER)) is not None


@pytest.mark.parametrize(
    "environment",
    [
        {"SMTP_URL": "smtp://localhost"},
        {"MAIL_FROM": SENDER},
        {"SMTP_URL": "http://localhost", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://localhost:99999", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://localhost:0", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://user@localhost", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://localhost/path", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://user:p%C3%A4ss@localhost", "MAIL_FROM": SENDER},
        {"SMTP_URL": "smtp://localhost", "MAIL_FROM": "VCA <vca@example.com>"},
        {"SMTP_URL": "smtp://localhost", "MAIL_FROM": "vca"},
        {"RECORDING_STORE": "folder:"},
        {"RECORDING_STORE": "s3://"},
        {"RECORDING_STORE": "s3:bucket"},
        {"RECORDING_STORE": "ftp://bucket"},
        {"RECORDING_STORE": "s3://Bucket"},
    ],
)
def test_invalid_settings_of_mail_and_store_are_named_in_the_error(
    environment: dict[str, str],
) -> None:
    with pytest.raises(SettingsError) as raised:
        _settings(**environment)

    assert any(name in str(raised.value) for name in environment)
