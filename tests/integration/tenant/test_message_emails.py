"""E-mail notifications of messages, which are sent at least once."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from tests.fakes.models import SequenceModel
from tests.integration.tenant.message_factory import CALLER, create_message
from tests.support.factories import Factory, Tenant
from tests.support.recordings import ProcessKilled, checked_out_connections
from tests.support.services import app_services, use_services
from tests.support.smtp_server import SmtpServer, smtp_server
from vca.conversation.llm import ToolCall
from vca.conversation.llm.models import Models
from vca.jobs import queue
from vca.kit.backoff import BackOff
from vca.kit.mail import Mail, Mailer
from vca.tenant.messages import email_notifications

NOTIFICATION_ADDRESS = "desk@acme.example"


@pytest.fixture
def smtp_inbox() -> Iterator[SmtpServer]:
    """Run an SMTP server as the mail server of the deployment, and return it."""
    with smtp_server() as server:
        use_services(mailer=Mailer(server.url, "vca@example.com"))
        yield server
    use_services(mailer=None)


@pytest.fixture
def notified_tenant(acme: Tenant, world: Factory, smtp_inbox: SmtpServer) -> Tenant:
    """Return Acme with a notification address."""
    world.sql(acme, f"UPDATE settings SET notification_email = '{NOTIFICATION_ADDRESS}'")
    return acme


def test_a_message_is_mailed_once_and_marked_as_mailed(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    call_id = uuid4()
    message_id = create_message(
        notified_tenant,
        call_id=call_id,
        name="Jane\r\nBcc: x@y",
        reason="Zähne 🦷",
        callback_number="42",
    )

    assert world.run_jobs(notified_tenant) == ["messages.mail"]

    [email] = smtp_inbox.messages
    assert email["To"] == NOTIFICATION_ADDRESS
    assert email["Subject"] == "Message from Jane Bcc: x@y"
    assert email["Message-ID"] == f"<message-{message_id.hex}@example.com>"
    content = email.get_content()
    for expected_text in ("Zähne 🦷", CALLER, "Call back at: 42", str(message_id), str(call_id)):
        assert expected_text in content
    assert _mail_status(notified_tenant, message_id) == ("sent", True)
    _run_mail_job(notified_tenant, message_id)
    assert len(smtp_inbox.messages) == 1


def test_the_mail_of_a_voicemail_contains_the_path_of_its_audio(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = create_message(
        notified_tenant, kind="voicemail", recording_id=uuid4(), caller_number=None
    )

    world.run_jobs(notified_tenant)

    [email] = smtp_inbox.messages
    assert email["Subject"] == "Voicemail from a withheld number"
    audio = notified_tenant.get(f"/messages/{message_id}").json["audio"]
    assert audio in email.get_content().replace("=\r\n", "")


def test_a_tenant_without_a_notification_address_gets_no_mail(
    acme: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = create_message(acme)

    assert world.run_jobs(acme) == []
    assert _mail_status(acme, message_id) == ("none", False)


def test_a_deployment_without_a_mail_server_enqueues_no_mail(acme: Tenant, world: Factory) -> None:
    world.sql(acme, f"UPDATE settings SET notification_email = '{NOTIFICATION_ADDRESS}'")
    create_message(acme)

    assert world.run_jobs(acme) == []


def test_a_message_of_a_simulated_call_is_neither_mailed_nor_listed(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    arguments = '{"name": "Jane", "number": null, "reason": "Call back."}'
    model = SequenceModel(["I will.", ToolCall("take_message", arguments)])
    use_services(models=Models(model))
    notified_tenant.profile(role="receptionist", tools=["take_message"])
    call_id = notified_tenant.simulate(notified_tenant.number()["did_number"])["call_id"]
    world.run_jobs(notified_tenant)
    notified_tenant.say(call_id, "Please tell them to call me back.")

    job_names = world.run_jobs(notified_tenant)

    assert "messages.mail" not in job_names
    assert smtp_inbox.messages == []
    assert notified_tenant.get("/messages").json == []
    [message] = notified_tenant.get("/messages", simulated="true").json
    assert (message["call_id"], message["mailed_at"]) == (call_id, None)
    assert message["mail_status"] == "none"
    [event] = [
        event for event in notified_tenant.get("/events").json if event["type"] == "message.taken"
    ]
    assert event["data"]["simulated"] is True


def test_a_mail_job_for_a_simulated_call_sends_nothing(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    """Earlier releases enqueued such jobs."""
    _run_mail_job(notified_tenant, create_message(notified_tenant, simulated=True))

    assert smtp_inbox.messages == []


def test_a_removed_notification_address_gets_no_mail(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = create_message(notified_tenant)
    world.sql(notified_tenant, "UPDATE settings SET notification_email = NULL")

    assert world.run_jobs(notified_tenant) == ["messages.mail"]

    assert smtp_inbox.messages == []
    assert _mail_status(notified_tenant, message_id) == ("none", False)


def test_a_mail_that_the_server_defers_is_sent_later(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.extend(["451 later", "452 full"])
    message_id = create_message(notified_tenant)
    with capture_logs() as log_lines:
        world.run_jobs(notified_tenant)
    assert smtp_inbox.messages == []
    assert _mail_status(notified_tenant, message_id) == ("pending", False)
    [log_line] = [entry for entry in log_lines if entry["event"] == "message.mail_delayed"]
    assert (log_line["code"], log_line["attempt"]) == (451, 1)

    for _ in range(2):
        assert world.run_jobs(notified_tenant, include_scheduled=True) == ["messages.mail"]

    assert len(smtp_inbox.messages) == 1
    assert _mail_status(notified_tenant, message_id) == ("sent", True)
    assert world.run_jobs(notified_tenant, include_scheduled=True) == []


def test_a_permanently_rejected_mail_is_not_retried(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.append("550 no such mailbox")
    message_id = create_message(notified_tenant)

    world.run_jobs(notified_tenant)

    assert world.run_jobs(notified_tenant, include_scheduled=True) == []
    assert _mail_status(notified_tenant, message_id) == ("failed", False)


def test_a_mail_is_dropped_after_the_last_retry(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(email_notifications, "BACK_OFF", BackOff((1, 1)))
    smtp_inbox.answers.extend(["451 later"] * 9)
    message_id = create_message(notified_tenant)
    world.run_jobs(notified_tenant)

    job_names = [world.run_jobs(notified_tenant, include_scheduled=True) for _ in range(3)]

    assert job_names == [["messages.mail"], ["messages.mail"], []]
    assert _mail_status(notified_tenant, message_id) == ("failed", False)


def test_a_retry_after_a_crash_sends_the_identical_mail(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = create_message(notified_tenant)
    send_mail = Mailer.send

    def send_and_kill_process(mailer: Mailer, mail: Mail) -> None:
        send_mail(mailer, mail)
        raise ProcessKilled

    with monkeypatch.context() as patch:
        patch.setattr(Mailer, "send", send_and_kill_process)
        with pytest.raises(ProcessKilled):
            world.run_jobs(notified_tenant)
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is None
    _run_mail_job(notified_tenant, message_id)

    first, second = smtp_inbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is not None


def test_no_transaction_is_open_while_a_mail_is_sent(
    notified_tenant: Tenant, world: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_transactions: list[int] = []

    def count_transactions(mailer: Mailer, mail: Mail) -> None:
        open_transactions.append(checked_out_connections())

    monkeypatch.setattr(Mailer, "send", count_transactions)
    create_message(notified_tenant)

    world.run_jobs(notified_tenant)

    assert open_transactions == [0]


def test_the_content_of_a_message_is_not_logged(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.append("550 Jane's secret is refused")
    create_message(notified_tenant, name="Jane", reason="The secret.")

    with capture_logs() as log_lines:
        world.run_jobs(notified_tenant)

    [log_line] = [entry for entry in log_lines if entry["event"] == "message.not_mailed"]
    assert log_line["code"] == 550
    for secret in ("Jane", "secret", NOTIFICATION_ADDRESS, CALLER):
        assert secret not in str(log_lines)


def test_a_mail_waits_until_the_worker_has_a_mail_server(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = create_message(notified_tenant)
    configured_mailer = app_services().mailer
    use_services(mailer=None)

    world.run_jobs(notified_tenant)
    assert _mail_status(notified_tenant, message_id) == ("pending", False)
    use_services(mailer=configured_mailer)
    world.run_jobs(notified_tenant, include_scheduled=True)

    assert _mail_status(notified_tenant, message_id) == ("sent", True)


@pytest.mark.parametrize(
    ("address", "recipient"),
    [
        ("info@münchen.de", "info@xn--mnchen-3ya.de"),
        ("info@BÜCHER.example", "info@xn--bcher-kva.example"),
        ("a.b+c@例え.jp", "a.b+c@xn--r8jz45g.jp"),
        ("x@straße.de", "x@xn--strae-oqa.de"),
    ],
)
def test_a_mail_arrives_at_an_international_domain(
    notified_tenant: Tenant,
    world: Factory,
    smtp_inbox: SmtpServer,
    address: str,
    recipient: str,
) -> None:
    response = notified_tenant.patch("/settings", {"notification_email": address})
    message_id = create_message(notified_tenant)

    world.run_jobs(notified_tenant)

    assert response.json["notification_email"] == address
    [(_, recipients, _)] = smtp_inbox.envelopes
    [email] = smtp_inbox.messages
    assert (recipients, email["To"]) == ([recipient], recipient)
    assert _mail_status(notified_tenant, message_id) == ("sent", True)


def test_a_stored_address_that_cannot_be_mailed_fails_at_once_and_keeps_the_message(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    """Earlier releases accepted such addresses."""
    world.sql(notified_tenant, "UPDATE settings SET notification_email = 'büro@example.com'")
    message_id = create_message(notified_tenant, reason="Call back.")

    with capture_logs() as log_lines:
        world.run_jobs(notified_tenant)

    assert world.run_jobs(notified_tenant, include_scheduled=True) == []
    assert _mail_status(notified_tenant, message_id) == ("failed", False)
    assert notified_tenant.get(f"/messages/{message_id}").json["reason"] == "Call back."
    assert [line["event"] for line in log_lines].count("message.not_mailed") == 1
    assert "büro" not in str(log_lines)


def test_a_message_of_an_earlier_release_shows_whether_it_was_mailed(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = create_message(notified_tenant)
    world.sql(notified_tenant, "UPDATE messages SET mail_status = NULL")
    assert _mail_status(notified_tenant, message_id) == ("none", False)

    world.run_jobs(notified_tenant)
    world.sql(notified_tenant, "UPDATE messages SET mail_status = NULL")

    assert _mail_status(notified_tenant, message_id) == ("sent", True)


def test_a_message_that_is_erased_while_it_is_mailed_is_no_error(
    notified_tenant: Tenant,
    world: Factory,
    smtp_inbox: SmtpServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_message(notified_tenant)
    monkeypatch.setattr(
        Mailer, "send", lambda *_: world.sql(notified_tenant, "DELETE FROM messages")
    )

    assert world.run_jobs(notified_tenant) == ["messages.mail"]


def _mail_status(tenant: Tenant, message_id: UUID) -> tuple[str, bool]:
    """Return (the status of the message's mail, whether it has the time at which it was sent)."""
    message = tenant.get(f"/messages/{message_id}").json
    return message["mail_status"], message["mailed_at"] is not None


def _run_mail_job(tenant: Tenant, message_id: UUID) -> None:
    queue.TASKS["messages.mail"](
        services=app_services(), tenant_id=tenant.id, message_id=str(message_id)
    )
