"""The carriers' operation: a call belongs to the tenant in a state token that only we can sign."""

from itertools import product

from tests.generated.populated_database import PopulatedDatabase
from tests.support.factories import Platform
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient
from vca.kit import crypto, json


def test_a_platform_key_reads_every_tenant_but_only_the_one_in_the_path(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant, platform: Platform
) -> None:
    for path in ("/phone-numbers", "/ai-profiles", "/calls", "/api-keys"):
        response = platform.api.get(populated_acme.tenant.url(path))

        assert response.json
        assert not populated_globex.leaked_secrets(response.text)
    foreign_call_path = f"/calls/{populated_globex.ids['call_id']}"
    response = platform.api.get(populated_acme.tenant.url(foreign_call_path))
    assert response.status_code == 404


def test_a_state_token_of_another_tenants_call_is_refused_and_changes_nothing(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    populated_database: PopulatedDatabase,
) -> None:
    before = populated_database.checksums()

    response = carrier_client.send(
        "speech",
        call_id=populated_acme.provider_call_id,
        to=populated_acme.did_number,
        state=populated_globex.live_call_state,
        text="Who am I talking to?",
    )

    assert response.status_code == 400
    for tenant in (populated_acme, populated_globex):
        assert not tenant.leaked_secrets(response.text)
    assert populated_database.checksums() == before


def test_a_state_token_that_we_did_not_sign_is_refused_and_changes_nothing(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    populated_database: PopulatedDatabase,
) -> None:
    globex_token, acme_token = populated_globex.live_call_state, populated_acme.live_call_state
    secret_key = populated_database.app.config["SECRET_KEY"]
    call = [
        populated_globex.tenant.id.replace("-", ""),
        populated_globex.ids["call_id"].replace("-", ""),
    ]
    other_character = "A" if globex_token[-5] != "A" else "B"
    tokens = {
        "changed": f"{globex_token[:-5]}{other_character}{globex_token[-4:]}",
        "cut": globex_token[:-2],
        "mixed": f"{globex_token.rpartition('.')[0]}.{acme_token.rpartition('.')[2]}",
        "cursor": crypto.sign(secret_key, call, purpose="cursor|/"),
        "other secret": crypto.sign("another deployment's secret", call, purpose="call"),
        "unsigned": json.dumps(call).decode(),
    }
    before = populated_database.checksums()

    for action, kind in product(("speech", "status"), tokens):
        response = carrier_client.send(
            action,
            call_id=populated_globex.provider_call_id,
            to=populated_globex.did_number,
            state=tokens[kind],
            text="Hello?",
            status="completed",
        )

        assert response.status_code == 400, kind
        assert response.json["code"] == "unreadable-carrier-request", kind
        assert not populated_globex.leaked_secrets(response.text)
    assert populated_database.checksums() == before


def test_a_carriers_call_id_is_looked_up_only_in_the_tenant_that_was_called(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    populated_database: PopulatedDatabase,
) -> None:
    before = populated_database.checksums()

    response = carrier_client.send(
        "status",
        call_id=populated_globex.provider_call_id,
        to=populated_acme.did_number,
        status="completed",
    )

    assert response.status_code == 200
    assert populated_database.checksums() == before


def test_an_inbound_call_to_acme_with_a_call_id_of_globex_is_a_call_of_acme(
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    populated_database: PopulatedDatabase,
) -> None:
    before = populated_database.checker.checksum(populated_globex.tenant.id)

    response = carrier_client.send(
        "voice", call_id=populated_globex.provider_call_id, to=populated_acme.did_number
    )

    assert not populated_globex.leaked_secrets(
        response.text, request_text=populated_globex.provider_call_id
    )
    assert populated_acme.marker in response.text
    assert populated_database.checker.checksum(populated_globex.tenant.id) == before
    newest_call = populated_acme.tenant.get("/calls", limit=1).json[0]
    assert newest_call["provider_call_id"] == populated_globex.provider_call_id


def test_an_unsigned_carrier_request_is_refused_before_anything_is_written(
    populated_globex: PopulatedTenant, populated_database: PopulatedDatabase
) -> None:
    api = populated_database.world.api(None)
    body = {
        "call_id": "x",
        "to": populated_globex.did_number,
        "state": populated_globex.live_call_state,
        "status": "completed",
    }

    for action in ("voice", "speech", "status"):
        for headers in ({}, {"X-Fake-Signature": "0" * 64}, {"X-Fake-Signature": "\u00e9"}):
            response = api.post(f"/telephony/fake/{action}", body, headers=headers)

            assert response.status_code == 403
            assert not populated_globex.leaked_secrets(response.text)
    assert populated_database.changes() == []
