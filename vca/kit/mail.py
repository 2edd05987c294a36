"""E-mail over SMTP: plain text, bounded waits, protected against header injection."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from threading import Timer
from urllib.parse import unquote, urlsplit

from vca.kit import deadline, email_addresses
from vca.kit.parsers import SMTP_PORTS
from vca.kit.text import sanitize

TIMEOUT_S = 10.0
# The limit for a whole mail: a server could send each byte just before the timeout of a single
# read.
TOTAL_TIMEOUT_S = 60.0
_MAX_SUBJECT_LENGTH = 200


class MailError(Exception):
    """The server did not accept a mail.

    `permanent` decides on retries. A permanent rejection (5xx) is. A temporary one (4xx), a
    timeout, a failed login or TLS error is not, because an operator can fix it. What the server
    cannot transmit at all is permanent. The message contains no address and no text of the mail.
    """

    def __init__(self, message: str, *, permanent: bool, code: int | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code


@dataclass(frozen=True)
class Mail:
    """One mail. Equal `message_key`s give equal Message-IDs, so receivers detect duplicates."""

    to: str
    subject: str
    text: str
    message_key: str
    written_at: datetime


class Mailer:
    """A mail server and the sender's address; thread-safe; opens a connection for each mail."""

    def __init__(
        self,
        url: str,
        sender: str,
        *,
        timeout_s: float = TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = urlsplit(url)
        self._sender = email_addresses.to_ascii(sender)
        self._timeout_s = timeout_s
        self._total_timeout_s = total_timeout_s
        self._tls_context = tls_context

    def send(self, mail: Mail) -> None:
        """Deliver the mail to the server; raises MailError. No transaction may be open."""
        recipient = _ascii_recipient(mail.to)
        message = self._build_message(mail, recipient)
        with _translate_errors(), self._open_connection() as server:
            _send_message(server, message, self._sender, recipient)
            with suppress(smtplib.SMTPException, OSError):  # the mail was accepted already
                server.quit()

    def _build_message(self, mail: Mail, recipient: str) -> EmailMessage:
        """Build the message with EmailMessage, so that line ends in data cannot add headers."""
        message = EmailMessage(policy=SMTP)
        message["To"] = Address(addr_spec=recipient)
        message["From"] = Address(addr_spec=self._sender)
        message["Subject"] = _header_text(mail.subject)
        message["Date"] = format_datetime(mail.written_at)
        message["Message-ID"] = f"<{mail.message_key}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(sanitize(mail.text), cte="quoted-printable")
        return message

    @contextmanager
    def _open_connection(self) -> Iterator[smtplib.SMTP]:
        """Open a connection with the URL's TLS mode and login; abort it when the time is up."""
        remaining_s = deadline.remaining_s()
        total_timeout_s = (
            self._total_timeout_s
            if remaining_s is None
            else min(self._total_timeout_s, max(remaining_s, 0.1))
        )
        server = self._create_server(min(self._timeout_s, total_timeout_s))
        timer = Timer(total_timeout_s, _abort, [server])
        timer.daemon = True
        timer.start()
        try:
            server.connect(self._host, self._url.port or SMTP_PORTS[self._url.scheme])
            if self._url.scheme == "smtp+starttls":
                server.starttls(context=self._effective_tls_context)
            if self._url.username is not None:
                server.login(unquote(self._url.username), unquote(self._url.password or ""))
            yield server
        finally:
            timer.cancel()
            server.close()

    def _create_server(self, timeout_s: float) -> smtplib.SMTP:
        local_domain = self._sender.rpartition("@")[2]  # or smtplib resolves our own name
        if self._url.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                timeout=timeout_s, local_hostname=local_domain, context=self._effective_tls_context
            )
        else:
            server = smtplib.SMTP(timeout=timeout_s, local_hostname=local_domain)
        server._host = self._host  # type: ignore[attr-defined] # TLS asks for it; set by __init__ only when that connects
        return server

    @property
    def _host(self) -> str:
        return self._url.hostname or ""

    @property
    def _effective_tls_context(self) -> ssl.SSLContext:
        return self._tls_context or ssl.create_default_context()


def _ascii_recipient(address: str) -> str:
    """Return the address in ASCII; a stored address of an earlier release may be invalid."""
    try:
        return email_addresses.to_ascii(address)
    except ValueError:
        raise MailError("invalid recipient address", permanent=True) from None


def _send_message(server: smtplib.SMTP, message: EmailMessage, sender: str, recipient: str) -> None:
    """Send the message; what this server or SMTP itself cannot transmit is a permanent error."""
    try:
        server.send_message(message, sender, [recipient])
    except (smtplib.SMTPNotSupportedError, ValueError) as error:
        raise MailError(f"failed: {type(error).__name__}", permanent=True) from error


def _header_text(text: str) -> str:
    """Return the text for a header, sanitized and on one line.

    Text that looks like an encoded word (`=?…?=`) would be decoded and written again by older
    releases of Python, including line ends (CVE-2024-6923). So it is broken up.
    """
    return " ".join(sanitize(text).replace("=?", "= ?").split())[:_MAX_SUBJECT_LENGTH]


def _abort(server: smtplib.SMTP) -> None:
    """Shut down the socket, so that a thread that waits for the server gets an error."""
    sock = server.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(2)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise MailError("the login failed", permanent=False, code=error.smtp_code) from None
    except smtplib.SMTPRecipientsRefused as error:
        [(code, _)] = error.recipients.values()
        raise _rejection(code) from None
    except smtplib.SMTPResponseException as error:
        raise _rejection(error.smtp_code) from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailError(f"failed: {type(error).__name__}", permanent=False) from error


def _rejection(code: int) -> MailError:
    return MailError(f"the server answered {code}", permanent=500 <= code < 600, code=code)
