"""Operations that wait for another system, while others need the server's threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.factories import Tenant
from tests.support.processes import HttpResponse, WebServer
from tests.system.slow_clients.conftest import RingNumber

SIMULATIONS = 20


@pytest.fixture
def open_simulations(acme: Tenant) -> list[str]:
    """Return the ids of open simulated calls of acme."""
    acme.profile(greeting="Acme.")
    did_number = acme.number()["did_number"]
    return [acme.simulate(did_number)["call_id"] for _ in range(SIMULATIONS)]


def test_simulations_against_a_slow_model_delay_no_other_tenant_and_no_carrier(
    web: WebServer,
    acme: Tenant,
    globex: Tenant,
    open_simulations: list[str],
    ring_globex: RingNumber,
) -> None:
    acme_client, globex_client = web.with_key(acme.key), web.with_key(globex.key)
    with ThreadPoolExecutor(45) as executor:
        futures = [
            executor.submit(
                partial(
                    acme_client.request,
                    "POST",
                    acme.url(f"/simulations/{open_simulations[index % SIMULATIONS]}/turns"),
                    {"text": "Hello?"},
                )
            )
            for index in range(45)
        ]
        statuses = [
            globex_client.get(globex.url("/phone-numbers"), timeout_s=5).status,
            ring_globex().status,
            acme_client.get(acme.url("/phone-numbers"), timeout_s=5).status,
        ]
        were_waiting = not all(future.done() for future in futures)
        responses: list[HttpResponse] = [future.result() for future in futures]

    assert statuses == [200, 200, 200]
    assert were_waiting
    busy = [response for response in responses if response.status == 429]
    assert busy
    assert {(response.json["code"], response.json["limit"]) for response in busy} == {
        ("busy", "busy")
    }
    assert all(int(response.headers["retry-after"]) >= 1 for response in busy)
    # Four places of the tenant in each of the two processes.
    assert len(responses) - len(busy) <= 8
