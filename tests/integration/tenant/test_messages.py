"""Messages: taken in a call, listed, dealt with, and mailed at least once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from tests.fakes.models import SequenceModel
from tests.support.factories import Factory, Tenant
from tests.support.recordings import ProcessKilled, checked_out_connections
from tests.support.smtp_server import SmtpServer, smtp_server
from vca.conversation.llm import ToolCall
from vca.conversation.llm.models import Models
from vca.jobs import queue
from vca.kit import mail
from vca.kit.mail import Mail, Mailer
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_services as desks
from vca.tenant.messages import email_notifications, service

DESK = "desk@acme.example"
CALLER = "+14155550123"


def _take(tenant: Tenant, **given: Any) -> UUID:
    fields = {"call_id": uuid4(), "kind": "message", "caller_number": CALLER, **given}
    with tenant_session(tenant.ref) as session:
        return service.create(session, **fields).id


@pytest.fixture
def smtp_inbox() -> Iterator[SmtpServer]:
    """A server of mail that this deployment uses."""
    with smtp_server() as found:
        mail.set_current_mailer(Mailer(found.url, "vca@example.com"))
        yield found
    mail.set_current_mailer(None)


@pytest.fixture
def notified_tenant(acme: Tenant, world: Factory, smtp_inbox: SmtpServer) -> Tenant:
    """Acme, which wants to be mailed."""
    world.sql(acme, f"UPDATE settings SET notification_email = '{DESK}'")
    return acme


# --- The API -------------------------------------------------------------------------------------


def test_a_message_is_shown_as_it_was_left(acme: Tenant) -> None:
    call_id = uuid4()
    message_id = _take(
        acme, call_id=call_id, callback_number="020 7946", name="Jane", reason="A new tooth."
    )

    shown = acme.get(f"/messages/{message_id}").json

    times = {name: shown.pop(name) for name in ("created_at", "updated_at")}
    assert all(times.values())
    assert shown == {
        "id": str(message_id),
        "kind": "message",
        "status": "new",
        "call_id": str(call_id),
        "caller_number": CALLER,
        "callback_number": "020 7946",
        "name": "Jane",
        "reason": "A new tooth.",
        "simulated": False,
        "audio": None,
        "mailed_at": None,
    }


def test_a_voicemail_says_where_its_audio_is(acme: Tenant) -> None:
    call_id = uuid4()
    message_id = _take(acme, call_id=call_id, kind="voicemail", recording_id=uuid4())

    audio = acme.get(f"/messages/{message_id}").json["audio"]

    assert audio == acme.url(f"/calls/{call_id}/recording?kind=voicemail")
    assert acme.api.get(audio).json["code"] == "not-found"


def test_texts_of_a_caller_are_cut_and_cleaned(acme: Tenant) -> None:
    message_id = _take(
        acme,
        name="J\x00ane\ud800" + "x" * 500,
        reason="y" * 50_000,
        callback_number="\x07" + "1" * 99,
        caller_number=None,
    )
    blank = _take(acme, name=" \x00 ", reason="")

    shown = acme.get(f"/messages/{message_id}").json
    assert shown["name"] == ("Jane" + "x" * 500)[:200]
    assert (len(shown["reason"]), shown["callback_number"]) == (4_000, "1" * 40)
    assert shown["caller_number"] is None
    empty = acme.get(f"/messages/{blank}").json
    assert (empty["name"], empty["reason"]) == (None, None)


def test_messages_are_listed_newest_first_in_pages_and_by_filter(
    acme: Tenant, globex: Tenant
) -> None:
    call_id = uuid4()
    ids = [str(_take(acme, call_id=call_id)) for _ in range(3)]
    voicemail = str(_take(acme, kind="voicemail"))
    _take(globex, call_id=call_id)
    acme.patch(f"/messages/{ids[0]}", {"status": "done"})

    def listed(**query: Any) -> list[str]:
        return [one["id"] for one in acme.get("/messages", **query).json]

    assert listed() == [voicemail, *reversed(ids)]
    assert listed(status="done") == [ids[0]]
    assert listed(kind="voicemail") == [voicemail]
    assert listed(call_id=str(call_id), status="new") == [ids[2], ids[1]]
    first = acme.get("/messages", limit=3)
    rest = acme.api.get(first.headers["Link"].partition("<")[2].partition(">")[0])
    assert [one["id"] for one in [*first.json, *rest.json]] == listed()


def test_messages_of_simulated_calls_are_listed_apart(acme: Tenant) -> None:
    real, simulated = str(_take(acme)), str(_take(acme, simulated=True, kind="voicemail"))

    def listed(**query: Any) -> list[tuple[str, bool]]:
        return [(one["id"], one["simulated"]) for one in acme.get("/messages", **query).json]

    assert listed() == listed(simulated="false") == [(real, False)]
    assert listed(simulated="true") == [(simulated, True)]
    assert acme.get(f"/messages/{simulated}").json["simulated"] is True
    assert acme.get("/messages", simulated="perhaps").status_code == 400


def test_a_message_is_dealt_with_and_taken_up_again(acme: Tenant) -> None:
    one = f"/messages/{_take(acme)}"
    before = acme.get(one).json

    done = acme.patch(one, {"status": "done"}).json
    again = acme.patch(one, {"status": "done"}).json
    new = acme.patch(one, {"status": "new"}).json

    assert (done["status"], again["status"], new["status"]) == ("done", "done", "new")
    assert done["updated_at"] > before["updated_at"]
    assert again["updated_at"] == done["updated_at"]
    assert acme.patch(one, {}).json == new


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "read"}, "/status"),
        ({"status": None}, "/status"),
        ({"name": "x"}, "/name"),
        ({"mailed_at": None}, "/mailed_at"),
    ],
)
def test_a_bad_change_is_named(acme: Tenant, body: object, pointer: str) -> None:
    refused = acme.patch(f"/messages/{_take(acme)}", body)

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"] == pointer


def test_another_tenants_message_does_not_exist(acme: Tenant, globex: Tenant) -> None:
    one = f"/messages/{_take(acme)}"

    answers = [globex.get(one), globex.patch(one, {"status": "done"})]

    assert {answer.json["code"] for answer in answers} == {"not-found"}
    assert acme.get(one).json["status"] == "new"


@pytest.mark.parametrize("scopes", [["read"], ["read", "write", "admin"], ["content"]])
def test_a_message_is_content_also_when_it_is_changed(
    acme: Tenant, world: Factory, scopes: list[str]
) -> None:
    message_id = _take(acme, reason="A secret.")
    api = world.api(world.key(acme.id, scopes=scopes))
    one = acme.url(f"/messages/{message_id}")

    read = [api.get(one).status_code, api.get(acme.url("/messages")).status_code]
    changed = api.patch(one, {"status": "done"})

    assert read == ([200, 200] if "content" in scopes else [403, 403])
    assert changed.status_code == 403
    assert "A secret" not in changed.text


# --- Mailed --------------------------------------------------------------------------------------


def test_a_message_is_mailed_once_and_the_row_says_so(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    call_id = uuid4()
    message_id = _take(
        notified_tenant,
        call_id=call_id,
        name="Jane\r\nBcc: x@y",
        reason="Zähne 🦷",
        callback_number="42",
    )

    assert world.run_jobs(notified_tenant) == ["messages.mail"]

    [found] = smtp_inbox.messages
    assert found["To"] == DESK
    assert found["Subject"] == "Message from Jane Bcc: x@y"
    assert found["Message-ID"] == f"<message-{message_id.hex}@example.com>"
    text = found.get_content()
    for told in ("Zähne 🦷", CALLER, "Call back at: 42", str(message_id), str(call_id)):
        assert told in text
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is not None
    _mail_again(notified_tenant, message_id)
    assert len(smtp_inbox.messages) == 1


def test_a_voicemails_mail_says_where_to_hear_it(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    message_id = _take(notified_tenant, kind="voicemail", recording_id=uuid4(), caller_number=None)

    world.run_jobs(notified_tenant)

    [found] = smtp_inbox.messages
    assert found["Subject"] == "Voicemail from a withheld number"
    assert notified_tenant.get(f"/messages/{message_id}").json[
        "audio"
    ] in found.get_content().replace("=\r\n", "")


def test_who_named_no_address_is_not_mailed(
    acme: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    _take(acme)

    assert world.run_jobs(acme) == []


def test_a_deployment_that_cannot_mail_orders_none(acme: Tenant, world: Factory) -> None:
    world.sql(acme, f"UPDATE settings SET notification_email = '{DESK}'")
    _take(acme)

    assert world.run_jobs(acme) == []


def test_a_simulated_call_mails_nobody_and_leaves_the_inbox_empty(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    arguments = '{"name": "Jane", "number": null, "reason": "Call back."}'
    model = SequenceModel(["I will.", ToolCall("take_message", arguments)])
    desks.set_current_services(replace(desks.current_services(), models=Models(model)))
    notified_tenant.profile(role="receptionist", tools=["take_message"])
    call_id = notified_tenant.simulate(notified_tenant.number()["did_number"])["call_id"]
    world.run_jobs(notified_tenant)
    notified_tenant.say(call_id, "Please tell them to call me back.")

    worked = world.run_jobs(notified_tenant)

    assert "messages.mail" not in worked
    assert smtp_inbox.messages == []
    assert notified_tenant.get("/messages").json == []
    [left] = notified_tenant.get("/messages", simulated="true").json
    assert (left["call_id"], left["mailed_at"]) == (call_id, None)
    [event] = [it for it in notified_tenant.get("/events").json if it["type"] == "message.taken"]
    assert event["data"]["simulated"] is True


def test_a_mail_that_an_earlier_release_ordered_for_a_simulated_call_is_not_sent(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    _mail_again(notified_tenant, _take(notified_tenant, simulated=True))

    assert smtp_inbox.messages == []


def test_an_address_that_was_taken_back_gets_nothing(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    _take(notified_tenant)
    world.sql(notified_tenant, "UPDATE settings SET notification_email = NULL")

    assert world.run_jobs(notified_tenant) == ["messages.mail"]

    assert smtp_inbox.messages == []


def test_what_the_server_puts_off_is_mailed_later(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.extend(["451 later", "452 full"])
    message_id = _take(notified_tenant)
    world.run_jobs(notified_tenant)
    assert smtp_inbox.messages == []

    for _ in range(2):
        assert world.run_jobs(notified_tenant, include_scheduled=True) == ["messages.mail"]

    assert len(smtp_inbox.messages) == 1
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is not None
    assert world.run_jobs(notified_tenant, include_scheduled=True) == []


def test_what_the_server_refuses_for_good_is_not_tried_again(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.append("550 no such mailbox")
    message_id = _take(notified_tenant)

    world.run_jobs(notified_tenant)

    assert world.run_jobs(notified_tenant, include_scheduled=True) == []
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is None


def test_what_is_put_off_for_ever_is_given_up(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(email_notifications, "BACK_OFF_S", (1, 1))
    smtp_inbox.answers.extend(["451 later"] * 9)
    _take(notified_tenant)
    world.run_jobs(notified_tenant)

    tries = [world.run_jobs(notified_tenant, include_scheduled=True) for _ in range(3)]

    assert tries == [["messages.mail"], ["messages.mail"], []]


def test_killed_after_the_server_took_it_the_same_mail_comes_again(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = _take(notified_tenant)
    send = Mailer.send

    def sent_and_killed(mailer: Mailer, mail: Mail) -> None:
        send(mailer, mail)
        raise ProcessKilled

    with monkeypatch.context() as patched:
        patched.setattr(Mailer, "send", sent_and_killed)
        with pytest.raises(ProcessKilled):
            world.run_jobs(notified_tenant)
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is None
    _mail_again(notified_tenant, message_id)

    first, second = smtp_inbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()
    assert notified_tenant.get(f"/messages/{message_id}").json["mailed_at"] is not None


def test_no_transaction_is_open_while_the_server_is_asked(
    notified_tenant: Tenant, world: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    out: list[int] = []

    def watched(mailer: Mailer, mail: Mail) -> None:
        out.append(checked_out_connections())

    monkeypatch.setattr(Mailer, "send", watched)
    _take(notified_tenant)

    world.run_jobs(notified_tenant)

    assert out == [0]


def test_nothing_of_a_message_is_logged(
    notified_tenant: Tenant, world: Factory, smtp_inbox: SmtpServer
) -> None:
    smtp_inbox.answers.append("550 Jane's secret is refused")
    _take(notified_tenant, name="Jane", reason="The secret.")

    with capture_logs() as lines:
        world.run_jobs(notified_tenant)

    [told] = [line for line in lines if line["event"] == "message.not_mailed"]
    assert told["code"] == 550
    for secret in ("Jane", "secret", DESK, CALLER):
        assert secret not in str(lines)


def test_a_mail_that_was_ordered_before_mail_was_turned_off_is_let_go(
    notified_tenant: Tenant, world: Factory
) -> None:
    _take(notified_tenant)
    mail.set_current_mailer(None)

    assert world.run_jobs(notified_tenant) == ["messages.mail"]


def _mail_again(tenant: Tenant, message_id: UUID) -> None:
    queue.TASKS["messages.mail"](tenant_id=tenant.id, message_id=str(message_id))
