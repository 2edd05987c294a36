"""Tests of telephony accounts: validation, encrypted credentials, changes and deletion."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.support import admin_db
from tests.support.accounts import OwnAccount, create_account
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, use_carriers, use_services
from vca.kit import clock
from vca.kit.encryption import DecryptionError, Keyring
from vca.registry.caps import CAPS
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.session import tenant_session
from vca.tenant.telephony_accounts import adapter_lookup, credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount

VALID_FIELDS = {"account_id": "acme", "secret": "a-secret-of-sixteen"}


def _encrypted_credentials(tenant: Tenant, account_id: str) -> bytes:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return session.get_one(TelephonyAccount, UUID(account_id)).sealed


def _get_account(tenant: Tenant, account: OwnAccount) -> dict[str, Any]:
    representation: dict[str, Any] = tenant.get(f"/telephony-accounts/{account.id}").json
    return representation


def test_an_account_is_returned_without_its_secrets(acme: Tenant) -> None:
    account = create_account(acme, label="Our trunk")

    response = acme.get(f"/telephony-accounts/{account.id}")

    assert response.json["provider_type"] == "fake"
    assert response.json["label"] == "Our trunk"
    assert response.json["fields"] == {"account_id": "acme"}
    [secret] = response.json["secrets"]
    assert secret["name"] == "secret"
    assert secret["changed_at"] is not None
    assert response.json["previous_accepted_until"] is None
    assert account.fields["secret"] not in response.text
    assert account.fields["secret"] not in acme.get("/telephony-accounts").text
    assert account.fields["secret"] not in str(account.representation)
    assert account.fields["secret"].encode() not in _encrypted_credentials(acme, account.id)


def test_an_optional_field_of_an_account_can_be_added_later(acme: Tenant) -> None:
    fields = {"account_sid": f"AC{1:032x}", "auth_token": f"{2:032x}"}
    created = acme.post("/telephony-accounts", {"provider_type": "twilio", "fields": fields}).json
    path, api_key = f"/telephony-accounts/{created['id']}", f"SK{3:032x}:a-secret-of-sixteen"

    invalid = acme.patch(path, {"fields": {"api_key": "SK"}})
    added = acme.patch(path, {"fields": {"api_key": api_key}})

    assert (invalid.status_code, invalid.json["errors"][0]["pointer"]) == (400, "/fields/api_key")
    assert [secret["name"] for secret in created["secrets"]] == ["auth_token"]
    assert [secret["name"] for secret in added.json["secrets"]] == ["auth_token", "api_key"]
    assert api_key not in added.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"provider_type": "nobody", "fields": VALID_FIELDS}, "/provider_type"),
        ({"provider_type": "generic", "fields": VALID_FIELDS}, "/provider_type"),
        (
            {"provider_type": "fake", "fields": {**VALID_FIELDS, "secret": "short"}},
            "/fields/secret",
        ),
        (
            {"provider_type": "fake", "fields": {**VALID_FIELDS, "secret": "x" * 129}},
            "/fields/secret",
        ),
        ({"provider_type": "fake", "fields": {**VALID_FIELDS, "secret": 7}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**VALID_FIELDS, "secret": None}}, "/fields/secret"),
        (
            {"provider_type": "fake", "fields": {**VALID_FIELDS, "account_id": "é"}},
            "/fields/account_id",
        ),
        ({"provider_type": "fake", "fields": {"account_id": "acme"}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**VALID_FIELDS, "a/b": "c"}}, "/fields/a~1b"),
        ({"provider_type": "fake", "fields": []}, "/fields"),
        ({"provider_type": "fake", "fields": {}}, "/fields/account_id"),
        ({"provider_type": "fake"}, "/fields"),
        ({"fields": VALID_FIELDS}, "/provider_type"),
        ({"provider_type": "fake", "fields": VALID_FIELDS, "sealed": "x"}, "/sealed"),
        ({"provider_type": "fake", "fields": VALID_FIELDS, "label": ""}, "/label"),
    ],
)
def test_an_invalid_account_is_rejected_without_repeating_its_values(
    acme: Tenant, body: dict[str, Any], pointer: str
) -> None:
    response = acme.post("/telephony-accounts", body)

    assert response.status_code == 400
    assert pointer in [error["pointer"] for error in response.json["errors"]]
    assert VALID_FIELDS["secret"] not in response.text
    assert acme.get("/telephony-accounts").json == []


def test_production_has_no_accounts_with_the_fake_carrier(
    settings: Settings, acme: Tenant, app: Flask
) -> None:
    production = replace(
        settings,
        app_env="production",
        telephony_provider="",
        api_key_peppers=("p" * 32,),
        encryption_keys=settings.keys_at_rest,
    )
    use_carriers(providers.Carriers(production))

    response = acme.post("/telephony-accounts", {"provider_type": "fake", "fields": VALID_FIELDS})

    assert response.json["errors"][0]["pointer"] == "/provider_type"
    assert app_services().carriers.parser_for("fake") is None


def test_telephony_accounts_require_the_admin_scope(acme: Tenant, world: Factory) -> None:
    account = create_account(acme)
    write_client = world.api(world.key(acme.id, scopes=["read", "write", "content"]))
    path = acme.url(f"/telephony-accounts/{account.id}")

    assert write_client.get(acme.url("/telephony-accounts")).status_code == 403
    assert write_client.get(path).status_code == 403
    assert write_client.patch(path, {"label": "x"}).status_code == 403
    assert write_client.delete(path).status_code == 403


def test_an_account_of_another_tenant_is_not_accessible(acme: Tenant, globex: Tenant) -> None:
    account = create_account(globex)
    path = f"/telephony-accounts/{account.id}"

    assert acme.get(path).status_code == 404
    assert acme.patch(path, {"label": "x"}).status_code == 404
    assert acme.delete(path).status_code == 404
    with_foreign_account = acme.post(
        "/phone-numbers", {"did_number": "+442079460001", **account.number_fields}
    )
    unknown_account = {**account.number_fields, "telephony_account_id": str(uuid4())}
    with_unknown_account = acme.post(
        "/phone-numbers", {"did_number": "+442079460001", **unknown_account}
    )
    for response in (with_foreign_account, with_unknown_account):
        assert response.status_code == 400
        assert response.json["errors"][0]["pointer"] == "/telephony_account_id"


def test_a_number_and_its_account_must_have_the_same_carrier(acme: Tenant) -> None:
    account, number = create_account(acme), acme.number()

    with_other_carrier = acme.patch(
        f"/phone-numbers/{number['id']}", {"telephony_account_id": account.id}
    )
    unknown_account = {"provider_type": "fake", "telephony_account_id": str(uuid4())}
    with_unknown_account = acme.patch(f"/phone-numbers/{number['id']}", unknown_account)

    for response in (with_other_carrier, with_unknown_account):
        assert response.status_code == 400
        assert response.json["errors"][0]["pointer"] == "/telephony_account_id"
    assert acme.get(f"/phone-numbers/{number['id']}").json["telephony_account_id"] is None


def test_a_tenant_can_have_at_most_twenty_accounts(acme: Tenant) -> None:
    for _ in range(CAPS["telephony_accounts"].maximum):
        create_account(acme)

    response = acme.post("/telephony-accounts", {"provider_type": "fake", "fields": VALID_FIELDS})

    assert (response.status_code, response.json["code"]) == (409, "too-many-accounts")


# --- Changes --------------------------------------------------------------------------------------


def test_after_a_change_the_previous_secret_is_accepted_for_one_day(acme: Tenant) -> None:
    account, now = create_account(acme), clock.now()
    changed_before = account.representation["secrets"][0]["changed_at"]

    changed = acme.patch(f"/telephony-accounts/{account.id}", {"fields": {"secret": "n" * 20}}).json

    assert changed["fields"] == {"account_id": "acme"}
    assert changed["secrets"][0]["changed_at"] > changed_before
    assert changed["previous_accepted_until"] is not None
    context: dict[str, Any] = {
        "tenant_id": acme.ref.id,
        "account_id": UUID(account.id),
    }
    stored_credentials = credentials.decrypt_credentials(
        _encrypted_credentials(acme, account.id), **context, services=app_services()
    )
    assert stored_credentials.account(now).fields == {"account_id": "acme", "secret": "n" * 20}
    assert stored_credentials.account(now).previous == account.fields
    after_overlap = now + credentials.OVERLAP + timedelta(minutes=1)
    assert stored_credentials.account(after_overlap).previous is None
    assert stored_credentials.accepted_until(after_overlap) is None


def test_a_second_change_within_a_day_removes_the_first_secret(acme: Tenant) -> None:
    account = create_account(acme)

    for secret in ("n" * 20, "m" * 20):
        acme.patch(f"/telephony-accounts/{account.id}", {"fields": {"secret": secret}})

    context: dict[str, Any] = {
        "tenant_id": acme.ref.id,
        "account_id": UUID(account.id),
    }
    stored_account = credentials.decrypt_credentials(
        _encrypted_credentials(acme, account.id), **context, services=app_services()
    ).account(clock.now())
    assert stored_account.fields["secret"] == "m" * 20
    assert stored_account.previous is not None
    assert stored_account.previous["secret"] == "n" * 20


def test_a_change_without_a_new_secret_stores_no_previous_secret(acme: Tenant) -> None:
    account = create_account(acme)
    path = f"/telephony-accounts/{account.id}"

    renamed = acme.patch(path, {"label": "Theirs", "fields": {"account_id": "another"}}).json
    same = acme.patch(path, {"fields": {"secret": account.fields["secret"]}}).json

    assert (renamed["label"], renamed["fields"]) == ("Theirs", {"account_id": "another"})
    assert renamed["previous_accepted_until"] is None
    assert same["previous_accepted_until"] is None
    assert same["secrets"] == account.representation["secrets"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"fields": {"secret": "short"}}, "/fields/secret"),
        ({"fields": {"password": "a-secret-of-sixteen"}}, "/fields/password"),
        ({"provider_type": "other"}, "/provider_type"),
        ({"id": "00000000-0000-4000-8000-000000000000"}, "/id"),
    ],
)
def test_an_invalid_change_is_rejected_and_has_no_effect(
    acme: Tenant, body: dict[str, Any], pointer: str
) -> None:
    account = create_account(acme)

    response = acme.patch(f"/telephony-accounts/{account.id}", body)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer
    assert _get_account(acme, account) == account.representation


def test_an_undecryptable_account_has_no_adapter_until_it_is_replaced(
    acme: Tenant, app: Flask, settings: Settings
) -> None:
    account = create_account(acme)
    ref = ProviderAccountRef("fake", UUID(account.id))
    use_services(keyring=Keyring([b"k" * 32]))
    try:
        with tenant_session(acme.ref, database=app_services().database) as session:
            assert adapter_lookup.adapter_for_number(session, ref, services=app_services()) is None
        undecryptable = _get_account(acme, account)
        partial_update = acme.patch(
            f"/telephony-accounts/{account.id}", {"fields": {"account_id": "x"}}
        )
        complete_update = acme.patch(f"/telephony-accounts/{account.id}", {"fields": VALID_FIELDS})
        with tenant_session(acme.ref, database=app_services().database) as session:
            assert (
                adapter_lookup.adapter_for_number(session, ref, services=app_services()) is not None
            )
    finally:
        use_services(keyring=Keyring(settings.keys_at_rest))

    assert (undecryptable["fields"], undecryptable["secrets"]) == ({}, [])
    assert partial_update.json["errors"][0]["pointer"] == "/fields/secret"
    assert complete_update.json["previous_accepted_until"] is None


def test_credentials_are_encrypted_for_their_tenant_and_account(
    acme: Tenant, globex: Tenant
) -> None:
    account, other_account = create_account(acme), create_account(acme)
    encrypted = _encrypted_credentials(acme, account.id)

    for tenant_id, account_id in (
        (acme.ref.id, UUID(other_account.id)),
        (globex.ref.id, UUID(account.id)),
    ):
        with pytest.raises(DecryptionError):
            credentials.decrypt_credentials(
                encrypted, tenant_id=tenant_id, account_id=account_id, services=app_services()
            )


def test_an_imported_account_with_other_fields_has_no_adapter(acme: Tenant) -> None:
    account = create_account(acme)
    with admin_db.tenant_session(acme.ref) as session:
        row = session.get_one(TelephonyAccount, UUID(account.id))
        other_credentials = credentials.new_credentials({"token": "x"}, now=clock.now())
        row.sealed = credentials.encrypt_credentials(
            other_credentials, tenant_id=acme.ref.id, account_id=row.id, services=app_services()
        )

    with tenant_session(acme.ref, database=app_services().database) as session:
        assert (
            adapter_lookup.adapter_for_number(
                session, ProviderAccountRef("fake", UUID(account.id)), services=app_services()
            )
            is None
        )


def test_the_audit_log_has_changes_of_accounts_without_secrets(acme: Tenant) -> None:
    account = create_account(acme, label="Our trunk")
    acme.patch(f"/telephony-accounts/{account.id}", {"fields": {"secret": "n" * 20}})
    acme.delete(f"/telephony-accounts/{account.id}")

    response = acme.get("/audit")

    entries = [entry for entry in response.json if entry["object_type"] == "telephony_account"]
    assert len(entries) == 3
    assert {entry["object_id"] for entry in entries} == {account.id}
    assert account.fields["secret"] not in response.text
    assert "n" * 20 not in response.text
    assert "Our trunk" not in response.text


# --- Deletion -------------------------------------------------------------------------------------


def test_an_unused_account_is_deleted(acme: Tenant) -> None:
    account = create_account(acme)

    assert acme.delete(f"/telephony-accounts/{account.id}").status_code == 204

    assert acme.get(f"/telephony-accounts/{account.id}").status_code == 404


def test_an_account_that_a_number_uses_cannot_be_deleted(acme: Tenant) -> None:
    account = create_account(acme)
    number = acme.number(**account.number_fields)
    path = f"/telephony-accounts/{account.id}"

    used_by_number = acme.delete(path)
    acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": None})
    used_until_release = acme.delete(path)
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")

    for response in (used_by_number, used_until_release):
        assert (response.status_code, response.json["code"]) == (409, "account-in-use")
    assert acme.delete(path).status_code == 204


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calls SET telephony_account_id = '{id}', status = 'in_progress'",
        "INSERT INTO recordings (id, tenant_id, call_id, kind, status, provider_type,"
        " provider_call_id, telephony_account_id, carrier_copy) SELECT gen_random_uuid(),"
        " tenant_id, id, 'call', 'pending', 'fake', 'x', '{id}', 'kept' FROM calls",
    ],
)
def test_an_account_that_a_live_call_or_recording_uses_cannot_be_deleted(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, statement: str
) -> None:
    account = create_account(acme)
    acme.profile(greeting="Acme here.")
    call = acme.simulate(acme.number()["did_number"])
    acme.post(f"/calls/{call['call_id']}/hangup")
    world.sql(acme, statement.format(id=account.id))

    response = acme.delete(f"/telephony-accounts/{account.id}")

    assert (response.status_code, response.json["code"]) == (409, "account-in-use")
