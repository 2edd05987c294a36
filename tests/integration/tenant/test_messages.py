"""Messages of callers over the API."""

from typing import Any
from uuid import uuid4

import pytest

from tests.integration.tenant.message_factory import CALLER, create_message
from tests.support.factories import Factory, Tenant


def test_a_message_is_returned_with_all_its_fields(acme: Tenant) -> None:
    call_id = uuid4()
    message_id = create_message(
        acme, call_id=call_id, callback_number="020 7946", name="Jane", reason="A new tooth."
    )

    message = acme.get(f"/messages/{message_id}").json

    times = {name: message.pop(name) for name in ("created_at", "updated_at")}
    assert all(times.values())
    assert message == {
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
        "mail_status": "none",
        "mailed_at": None,
    }


def test_a_voicemail_contains_the_path_of_its_audio(acme: Tenant) -> None:
    call_id = uuid4()
    message_id = create_message(acme, call_id=call_id, kind="voicemail", recording_id=uuid4())

    audio = acme.get(f"/messages/{message_id}").json["audio"]

    assert audio == acme.url(f"/calls/{call_id}/recording?kind=voicemail")
    assert acme.api.get(audio).json["code"] == "not-found"


def test_texts_of_a_caller_are_truncated_and_sanitised(acme: Tenant) -> None:
    message_id = create_message(
        acme,
        name="J\x00ane\ud800" + "x" * 500,
        reason="y" * 50_000,
        callback_number="\x07" + "1" * 99,
        caller_number=None,
    )
    blank_id = create_message(acme, name=" \x00 ", reason="")

    message = acme.get(f"/messages/{message_id}").json
    assert message["name"] == ("Jane" + "x" * 500)[:200]
    assert (len(message["reason"]), message["callback_number"]) == (4_000, "1" * 40)
    assert message["caller_number"] is None
    blank_message = acme.get(f"/messages/{blank_id}").json
    assert (blank_message["name"], blank_message["reason"]) == (None, None)


def test_messages_are_listed_newest_first_with_pages_and_filters(
    acme: Tenant, globex: Tenant
) -> None:
    call_id = uuid4()
    message_ids = [str(create_message(acme, call_id=call_id)) for _ in range(3)]
    voicemail_id = str(create_message(acme, kind="voicemail"))
    create_message(globex, call_id=call_id)
    acme.patch(f"/messages/{message_ids[0]}", {"status": "done"})

    def list_ids(**query: Any) -> list[str]:
        return [message["id"] for message in acme.get("/messages", **query).json]

    assert list_ids() == [voicemail_id, *reversed(message_ids)]
    assert list_ids(status="done") == [message_ids[0]]
    assert list_ids(kind="voicemail") == [voicemail_id]
    assert list_ids(call_id=str(call_id), status="new") == [message_ids[2], message_ids[1]]
    first = acme.get("/messages", limit=3)
    second = acme.api.get(first.headers["Link"].partition("<")[2].partition(">")[0])
    assert [message["id"] for message in [*first.json, *second.json]] == list_ids()


def test_messages_of_simulated_calls_are_listed_separately(acme: Tenant) -> None:
    real_id = str(create_message(acme))
    simulated_id = str(create_message(acme, simulated=True, kind="voicemail"))

    def list_messages(**query: Any) -> list[tuple[str, bool]]:
        return [
            (message["id"], message["simulated"]) for message in acme.get("/messages", **query).json
        ]

    assert list_messages() == list_messages(simulated="false") == [(real_id, False)]
    assert list_messages(simulated="true") == [(simulated_id, True)]
    assert acme.get(f"/messages/{simulated_id}").json["simulated"] is True
    assert acme.get("/messages", simulated="perhaps").status_code == 400


def test_a_message_is_marked_as_done_and_as_new(acme: Tenant) -> None:
    path = f"/messages/{create_message(acme)}"
    before = acme.get(path).json

    done = acme.patch(path, {"status": "done"}).json
    repeated = acme.patch(path, {"status": "done"}).json
    reopened = acme.patch(path, {"status": "new"}).json

    assert (done["status"], repeated["status"], reopened["status"]) == ("done", "done", "new")
    assert done["updated_at"] > before["updated_at"]
    assert repeated["updated_at"] == done["updated_at"]
    assert acme.patch(path, {}).json == reopened


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "read"}, "/status"),
        ({"status": None}, "/status"),
        ({"name": "x"}, "/name"),
        ({"mailed_at": None}, "/mailed_at"),
        ({"mail_status": "sent"}, "/mail_status"),
    ],
)
def test_an_invalid_update_is_rejected_with_its_pointer(
    acme: Tenant, body: object, pointer: str
) -> None:
    response = acme.patch(f"/messages/{create_message(acme)}", body)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer


def test_a_message_of_another_tenant_returns_404(acme: Tenant, globex: Tenant) -> None:
    path = f"/messages/{create_message(acme)}"

    responses = [globex.get(path), globex.patch(path, {"status": "done"})]

    assert {response.json["code"] for response in responses} == {"not-found"}
    assert acme.get(path).json["status"] == "new"


@pytest.mark.parametrize("scopes", [["read"], ["read", "write", "admin"], ["content"]])
def test_access_to_messages_requires_the_content_scope(
    acme: Tenant, world: Factory, scopes: list[str]
) -> None:
    message_id = create_message(acme, reason="A secret.")
    api = world.api(world.key(acme.id, scopes=scopes))
    path = acme.url(f"/messages/{message_id}")

    read_statuses = [api.get(path).status_code, api.get(acme.url("/messages")).status_code]
    update_response = api.patch(path, {"status": "done"})

    assert read_statuses == ([200, 200] if "content" in scopes else [403, 403])
    assert update_response.status_code == 403
    assert "A secret" not in update_response.text
