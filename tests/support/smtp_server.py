"""An SMTP server on loopback: stores messages and replies as configured."""

import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.fakes import openai_server
from tests.support.processes import free_port

CERTIFICATE = Path(openai_server.__file__).with_name("localhost.pem")
USER, PASSWORD = "vca@acme", "p@ss:word/#?"


class SmtpServer:
    """Received messages and envelopes, and the replies to the next messages instead of 250."""

    def __init__(self) -> None:
        self.url = ""
        self.messages: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str], bool]] = []
        self.answers: deque[str] = deque()
        self.recipient_answer: str | None = None

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.recipient_answer is not None:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        reply = self.answers.popleft() if self.answers else "250 taken"
        if reply.startswith("250"):
            message = message_from_bytes(envelope.content, policy=policy.SMTP)
            assert isinstance(message, EmailMessage)
            self.messages.append(message)
            encrypted = server.transport.get_extra_info("ssl_object") is not None
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos, encrypted))
        return reply


def server_context() -> ssl.SSLContext:
    """Return a context with the certificate of localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context() -> ssl.SSLContext:
    """Return a context that trusts that certificate."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@contextmanager
def smtp_server(
    *, starttls: bool = False, tls: bool = False, login: bool = False
) -> Iterator[SmtpServer]:
    """Run a server; its `url` is set."""
    server = SmtpServer()
    options: dict[str, Any] = {}
    if starttls:
        options |= {"tls_context": server_context(), "require_starttls": True}
    if login:
        options |= {"authenticator": _authenticate, "auth_required": True}
    controller = Controller(
        server,
        hostname="127.0.0.1",
        port=free_port(),
        ssl_context=server_context() if tls else None,
        **options,
    )
    controller.start()
    try:
        scheme = "smtps" if tls else "smtp+starttls" if starttls else "smtp"
        server.url = f"{scheme}://localhost:{controller.port}"
        yield server
    finally:
        controller.stop()


def _authenticate(
    server: Any, session: Any, envelope: Any, mechanism: str, credentials: Any
) -> Any:
    good = isinstance(credentials, LoginPassword) and (credentials.login, credentials.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=good, handled=False)
