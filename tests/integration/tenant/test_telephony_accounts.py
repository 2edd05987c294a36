"""A tenant's own accounts with carriers: kept sealed, shown without their secrets."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.support import admin_db
from tests.support.accounts import OwnAccount, create_account
from tests.support.factories import Factory, Tenant
from vca.kit import clock, encryption
from vca.kit.encryption import DecryptionError, Keyring
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.session import tenant_session
from vca.tenant.telephony_accounts import adapter_lookup, credentials, service
from vca.tenant.telephony_accounts.models import TelephonyAccount

GOOD = {"account_id": "acme", "secret": "a-secret-of-sixteen"}


def _sealed(tenant: Tenant, account_id: str) -> bytes:
    with tenant_session(tenant.ref) as session:
        return session.get_one(TelephonyAccount, UUID(account_id)).sealed


def _one(tenant: Tenant, own: OwnAccount) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/telephony-accounts/{own.id}").json
    return found


def test_an_account_is_shown_without_its_secrets(acme: Tenant) -> None:
    own = create_account(acme, label="Our trunk")

    shown = acme.get(f"/telephony-accounts/{own.id}")

    assert shown.json["provider_type"] == "fake"
    assert shown.json["label"] == "Our trunk"
    assert shown.json["fields"] == {"account_id": "acme"}
    [secret] = shown.json["secrets"]
    assert secret["name"] == "secret"
    assert secret["changed_at"] is not None
    assert shown.json["previous_accepted_until"] is None
    for answer in (shown, acme.get("/telephony-accounts")):
        assert own.fields["secret"] not in answer.text
    assert own.fields["secret"] not in str(own.representation)
    assert own.fields["secret"].encode() not in _sealed(acme, own.id)


def test_what_an_account_can_do_without_may_be_missing_and_added(acme: Tenant) -> None:
    fields = {"account_sid": f"AC{1:032x}", "auth_token": f"{2:032x}"}
    made = acme.post("/telephony-accounts", {"provider_type": "twilio", "fields": fields}).json
    own, key = f"/telephony-accounts/{made['id']}", f"SK{3:032x}:a-secret-of-sixteen"

    bad = acme.patch(own, {"fields": {"api_key": "SK"}})
    added = acme.patch(own, {"fields": {"api_key": key}})

    assert (bad.status_code, bad.json["errors"][0]["pointer"]) == (400, "/fields/api_key")
    assert [each["name"] for each in made["secrets"]] == ["auth_token"]
    assert [each["name"] for each in added.json["secrets"]] == ["auth_token", "api_key"]
    assert key not in added.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"provider_type": "nobody", "fields": GOOD}, "/provider_type"),
        ({"provider_type": "generic", "fields": GOOD}, "/provider_type"),
        ({"provider_type": "fake", "fields": {**GOOD, "secret": "short"}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**GOOD, "secret": "x" * 129}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**GOOD, "secret": 7}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**GOOD, "secret": None}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**GOOD, "account_id": "é"}}, "/fields/account_id"),
        ({"provider_type": "fake", "fields": {"account_id": "acme"}}, "/fields/secret"),
        ({"provider_type": "fake", "fields": {**GOOD, "a/b": "c"}}, "/fields/a~1b"),
        ({"provider_type": "fake", "fields": []}, "/fields"),
        ({"provider_type": "fake", "fields": {}}, "/fields/account_id"),
        ({"provider_type": "fake"}, "/fields"),
        ({"fields": GOOD}, "/provider_type"),
        ({"provider_type": "fake", "fields": GOOD, "sealed": "x"}, "/sealed"),
        ({"provider_type": "fake", "fields": GOOD, "label": ""}, "/label"),
    ],
)
def test_a_bad_account_is_refused_with_the_fields_name_and_without_what_it_said(
    acme: Tenant, body: dict[str, Any], pointer: str
) -> None:
    refused = acme.post("/telephony-accounts", body)

    assert refused.status_code == 400
    assert pointer in [error["pointer"] for error in refused.json["errors"]]
    assert GOOD["secret"] not in refused.text
    assert acme.get("/telephony-accounts").json == []


def test_in_production_nobody_has_an_account_with_the_fake_carrier(
    settings: Settings, acme: Tenant, app: Flask
) -> None:
    hard = {"api_key_peppers": ("p" * 32,), "encryption_keys": settings.keys_at_rest}
    production = replace(settings, app_env="production", telephony_provider="", **hard)
    providers.set_current_carriers(providers.Carriers(production))

    refused = acme.post("/telephony-accounts", {"provider_type": "fake", "fields": GOOD})

    assert refused.json["errors"][0]["pointer"] == "/provider_type"
    assert providers.current_carriers().parser_for("fake") is None


def test_it_is_for_keys_that_may_administer(acme: Tenant, world: Factory) -> None:
    own = create_account(acme)
    writer = world.api(world.key(acme.id, scopes=["read", "write", "content"]))
    one = acme.url(f"/telephony-accounts/{own.id}")

    assert writer.get(acme.url("/telephony-accounts")).status_code == 403
    assert writer.get(one).status_code == 403
    assert writer.patch(one, {"label": "x"}).status_code == 403
    assert writer.delete(one).status_code == 403


def test_globexs_account_is_not_there_for_acme(acme: Tenant, globex: Tenant) -> None:
    own = create_account(globex)
    one = f"/telephony-accounts/{own.id}"

    assert acme.get(one).status_code == 404
    assert acme.patch(one, {"label": "x"}).status_code == 404
    assert acme.delete(one).status_code == 404
    named = acme.post("/phone-numbers", {"did_number": "+442079460001", **own.number_fields})
    made_up = {**own.number_fields, "telephony_account_id": str(uuid4())}
    missing = acme.post("/phone-numbers", {"did_number": "+442079460001", **made_up})
    for refused in (named, missing):
        assert refused.status_code == 400
        assert refused.json["errors"][0]["pointer"] == "/telephony_account_id"


def test_a_number_and_its_account_are_with_the_same_carrier(acme: Tenant) -> None:
    own, number = create_account(acme), acme.number()

    moved = acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": own.id})
    missing = {"provider_type": "fake", "telephony_account_id": str(uuid4())}
    lost = acme.patch(f"/phone-numbers/{number['id']}", missing)

    for refused in (moved, lost):
        assert refused.status_code == 400
        assert refused.json["errors"][0]["pointer"] == "/telephony_account_id"
    assert acme.get(f"/phone-numbers/{number['id']}").json["telephony_account_id"] is None


def test_there_are_twenty_at_most(acme: Tenant) -> None:
    for _ in range(service.MAX_ACCOUNTS):
        create_account(acme)

    refused = acme.post("/telephony-accounts", {"provider_type": "fake", "fields": GOOD})

    assert (refused.status_code, refused.json["code"]) == (409, "too-many-accounts")


# --- Changed --------------------------------------------------------------------------------------


def test_with_a_new_secret_the_one_before_is_accepted_for_a_day(acme: Tenant) -> None:
    own, now = create_account(acme), clock.now()
    before = own.representation["secrets"][0]["changed_at"]

    changed = acme.patch(f"/telephony-accounts/{own.id}", {"fields": {"secret": "n" * 20}}).json

    assert changed["fields"] == {"account_id": "acme"}
    assert changed["secrets"][0]["changed_at"] > before
    assert changed["previous_accepted_until"] is not None
    known = {"tenant_id": acme.ref.id, "account_id": UUID(own.id)}
    kept = credentials.decrypt_credentials(_sealed(acme, own.id), **known)
    assert kept.account(now).fields == {"account_id": "acme", "secret": "n" * 20}
    assert kept.account(now).previous == own.fields
    over = now + credentials.OVERLAP + timedelta(minutes=1)
    assert kept.account(over).previous is None
    assert kept.accepted_until(over) is None


def test_changed_twice_within_a_day_the_first_secret_is_forgotten(acme: Tenant) -> None:
    own = create_account(acme)

    for secret in ("n" * 20, "m" * 20):
        acme.patch(f"/telephony-accounts/{own.id}", {"fields": {"secret": secret}})

    known = {"tenant_id": acme.ref.id, "account_id": UUID(own.id)}
    account = credentials.decrypt_credentials(_sealed(acme, own.id), **known).account(clock.now())
    assert account.fields["secret"] == "m" * 20
    assert account.previous is not None
    assert account.previous["secret"] == "n" * 20


def test_what_is_no_new_secret_keeps_none_before(acme: Tenant) -> None:
    own = create_account(acme)
    one = f"/telephony-accounts/{own.id}"

    renamed = acme.patch(one, {"label": "Theirs", "fields": {"account_id": "another"}}).json
    same = acme.patch(one, {"fields": {"secret": own.fields["secret"]}}).json

    assert (renamed["label"], renamed["fields"]) == ("Theirs", {"account_id": "another"})
    assert renamed["previous_accepted_until"] is None
    assert same["previous_accepted_until"] is None
    assert same["secrets"] == own.representation["secrets"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"fields": {"secret": "short"}}, "/fields/secret"),
        ({"fields": {"password": "a-secret-of-sixteen"}}, "/fields/password"),
        ({"provider_type": "other"}, "/provider_type"),
        ({"id": "00000000-0000-4000-8000-000000000000"}, "/id"),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(
    acme: Tenant, body: dict[str, Any], pointer: str
) -> None:
    own = create_account(acme)

    refused = acme.patch(f"/telephony-accounts/{own.id}", body)

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"] == pointer
    assert _one(acme, own) == own.representation


def test_what_our_keys_do_not_open_is_no_carriers_and_is_set_anew(
    acme: Tenant, app: Flask, settings: Settings
) -> None:
    own = create_account(acme)
    ref = ProviderAccountRef("fake", UUID(own.id))
    encryption.set_current_keyring(Keyring([b"k" * 32]))
    try:
        with tenant_session(acme.ref) as session:
            assert adapter_lookup.adapter_for_number(session, ref) is None
        shown = _one(acme, own)
        half = acme.patch(f"/telephony-accounts/{own.id}", {"fields": {"account_id": "x"}})
        whole = acme.patch(f"/telephony-accounts/{own.id}", {"fields": GOOD})
        with tenant_session(acme.ref) as session:
            assert adapter_lookup.adapter_for_number(session, ref) is not None
    finally:
        encryption.set_current_keyring(Keyring(settings.keys_at_rest))

    assert (shown["fields"], shown["secrets"]) == ({}, [])
    assert half.json["errors"][0]["pointer"] == "/fields/secret"
    assert whole.json["previous_accepted_until"] is None


def test_an_account_is_sealed_for_its_place(acme: Tenant, globex: Tenant) -> None:
    own, other = create_account(acme), create_account(acme)
    sealed = _sealed(acme, own.id)

    for place in (
        {"tenant_id": acme.ref.id, "account_id": UUID(other.id)},
        {"tenant_id": globex.ref.id, "account_id": UUID(own.id)},
    ):
        with pytest.raises(DecryptionError):
            credentials.decrypt_credentials(sealed, **place)


def test_an_imported_account_of_another_form_is_no_carriers(acme: Tenant) -> None:
    own = create_account(acme)
    with admin_db.tenant_session(acme.ref) as session:
        row = session.get_one(TelephonyAccount, UUID(own.id))
        strange = credentials.new_credentials({"token": "x"}, now=clock.now())
        row.sealed = credentials.encrypt_credentials(
            strange, tenant_id=acme.ref.id, account_id=row.id
        )

    with tenant_session(acme.ref) as session:
        assert (
            adapter_lookup.adapter_for_number(session, ProviderAccountRef("fake", UUID(own.id)))
            is None
        )


def test_the_audit_tells_of_an_account_and_nothing_of_its_secrets(acme: Tenant) -> None:
    own = create_account(acme, label="Our trunk")
    acme.patch(f"/telephony-accounts/{own.id}", {"fields": {"secret": "n" * 20}})
    acme.delete(f"/telephony-accounts/{own.id}")

    told = acme.get("/audit")

    about = [entry for entry in told.json if entry["object_type"] == "telephony_account"]
    assert len(about) == 3
    assert {entry["object_id"] for entry in about} == {own.id}
    assert own.fields["secret"] not in told.text
    assert "n" * 20 not in told.text
    assert "Our trunk" not in told.text


# --- Removed --------------------------------------------------------------------------------------


def test_an_account_that_nothing_needs_is_forgotten(acme: Tenant) -> None:
    own = create_account(acme)

    assert acme.delete(f"/telephony-accounts/{own.id}").status_code == 204

    assert acme.get(f"/telephony-accounts/{own.id}").status_code == 404


def test_an_account_that_a_number_names_is_not_forgotten(acme: Tenant) -> None:
    own = create_account(acme)
    number = acme.number(**own.number_fields)
    one = f"/telephony-accounts/{own.id}"

    named = acme.delete(one)
    acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": None})
    left = acme.delete(one)
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")

    for refused in (named, left):
        assert (refused.status_code, refused.json["code"]) == (409, "account-in-use")
    assert acme.delete(one).status_code == 204


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calls SET telephony_account_id = '{id}', status = 'in_progress'",
        "INSERT INTO recordings (id, tenant_id, call_id, kind, status, provider_type,"
        " provider_call_id, telephony_account_id, carrier_copy) SELECT gen_random_uuid(),"
        " tenant_id, id, 'call', 'pending', 'fake', 'x', '{id}', 'kept' FROM calls",
    ],
)
def test_an_account_that_a_live_call_or_a_recording_needs_is_not_forgotten(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, statement: str
) -> None:
    own = create_account(acme)
    acme.profile(greeting="Acme here.")
    call = acme.simulate(acme.number()["did_number"])
    acme.post(f"/calls/{call['call_id']}/hangup")
    world.sql(acme, statement.format(id=own.id))

    refused = acme.delete(f"/telephony-accounts/{own.id}")

    assert (refused.status_code, refused.json["code"]) == (409, "account-in-use")
