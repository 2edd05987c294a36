"""Mail against a server on loopback: taken, refused, put off, hung, never in clear by chance."""

import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.smtp_server import PASSWORD, USER, client_context, smtp_server
from vca.app import mailer as configured_mailer
from vca.kit import deadline
from vca.kit.mail import Mail, Mailer, MailError
from vca.settings import Settings, SettingsError, read_settings

SENDER = "vca@example.com"
PATIENCE_S = 20.0
WRITTEN_AT = datetime(2026, 11, 22, 18, tzinfo=UTC)


def _mail(**changed: Any) -> Mail:
    given = {
        "to": "desk@acme.example",
        "subject": "Message from Jane",
        "text": "Grüße, 請回電 🚑\n",
        "message_key": "message-1",
        "written_at": WRITTEN_AT,
    }
    return Mail(**{**given, **changed})


def _refusal(mailer: Mailer, mail: Mail | None = None) -> MailError:
    with pytest.raises(MailError) as raised:
        mailer.send(mail or _mail())
    return raised.value


def test_a_mail_arrives_as_it_was_written() -> None:
    with smtp_server() as box:
        Mailer(box.url, SENDER).send(_mail())

        [mail] = box.messages
        assert box.envelopes == [(SENDER, ["desk@acme.example"], False)]
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
def test_a_callers_name_cannot_become_a_header(subject: str) -> None:
    with smtp_server() as box:
        Mailer(box.url, SENDER).send(_mail(subject=subject, text=f"{subject}\r\n.\r\nQUIT"))

        [mail] = box.messages
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
    assert box.envelopes[0][1] == ["desk@acme.example"]
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
    ],
)
def test_what_is_no_address_is_refused_for_good_and_nobody_is_asked(to: str) -> None:
    with smtp_server() as box:
        assert _refusal(Mailer(box.url, SENDER), _mail(to=to)).permanent

        assert box.messages == []


@pytest.mark.parametrize(("how", "encrypted"), [("starttls", True), ("tls", True), ("", False)])
def test_it_is_encrypted_and_logs_in_as_the_url_says(how: str, encrypted: bool) -> None:
    options = {how: True} if how else {}
    login = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@" if how == "starttls" else ""
    with smtp_server(login=bool(login), **options) as box:
        url = box.url.replace("//", f"//{login}")

        Mailer(url, SENDER, tls_context=client_context()).send(_mail())

        assert box.envelopes[0][2] is encrypted


def test_a_wrong_password_is_worth_another_try_once_it_is_right() -> None:
    with smtp_server(starttls=True, login=True) as box:
        url = box.url.replace("//", "//vca:wrong@")

        refused = _refusal(Mailer(url, SENDER, tls_context=client_context()))

        assert (refused.permanent, refused.code) == (False, 535), refused.__cause__


def test_without_starttls_nothing_is_sent_in_clear() -> None:
    with smtp_server() as box:
        url = box.url.replace("smtp:", "smtp+starttls:")

        refused = _refusal(Mailer(url, SENDER, tls_context=client_context()))

        assert not refused.permanent
        assert box.messages == []


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    with smtp_server(starttls=True) as box:
        refused = _refusal(Mailer(box.url, SENDER))

        assert not refused.permanent
        assert isinstance(refused.__cause__, ssl.SSLCertVerificationError)
        assert box.messages == []


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("550 no such mailbox", True), ("554 spam", True), ("451 later", False), ("421 bye", False)],
)
@pytest.mark.parametrize("when", ["recipient", "data"])
def test_the_servers_answer_decides_on_another_try(when: str, answer: str, permanent: bool) -> None:
    with smtp_server() as box:
        if when == "recipient":
            box.recipient_answer = answer
        else:
            box.answers.append(answer)

        refused = _refusal(Mailer(box.url, SENDER))

        assert (refused.permanent, refused.code) == (permanent, int(answer[:3]))
        assert "acme" not in str(refused)


def test_nobody_there_is_worth_another_try() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{closed.getsockname()[1]}"

        assert not _refusal(Mailer(url, SENDER)).permanent


def _silent(line: socket.socket, stop: threading.Event) -> None:
    stop.wait(PATIENCE_S)


def _dripping(line: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        line.sendall(b"220-x\r\n")


def _hung_after_greeting(line: socket.socket, stop: threading.Event) -> None:
    line.sendall(b"220 hello\r\n")
    stop.wait(PATIENCE_S)


@pytest.mark.parametrize("behave", [_silent, _dripping, _hung_after_greeting])
@pytest.mark.parametrize("bound", ["of its own", "of the job"])
def test_a_server_that_hangs_or_drips_is_given_up(
    behave: Callable[[socket.socket, threading.Event], None], bound: str
) -> None:
    stop, done = threading.Event(), threading.Event()
    found: list[MailError] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"smtp://127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            line, _ = listening.accept()
            with line:
                try:
                    behave(line, stop)
                except OSError:
                    return  # we hung up

        def ask() -> None:
            whole_s = 0.5 if bound == "of its own" else 600
            with deadline.within(600 if bound == "of its own" else 0.5):
                found.append(_refusal(Mailer(url, SENDER, timeout_s=30, total_timeout_s=whole_s)))
            done.set()

        threads = [threading.Thread(target=target, daemon=True) for target in (serve, ask)]
        for thread in threads:
            thread.start()

        assert done.wait(PATIENCE_S)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not found[0].permanent


_BARE = {
    "DATABASE_URL": "postgresql://localhost/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
}


def _settings(**given: str) -> Settings:
    return read_settings({**_BARE, **given})


def test_without_a_server_nothing_can_be_mailed() -> None:
    assert configured_mailer(_settings()) is None
    assert configured_mailer(_settings(SMTP_URL="smtp://localhost", MAIL_FROM=SENDER)) is not None


@pytest.mark.parametrize(
    "given",
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
def test_settings_of_mail_and_store_that_cannot_work_are_named(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as raised:
        _settings(**given)

    assert any(name in str(raised.value) for name in given)
