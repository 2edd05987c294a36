"""Run the rounds: the quiet tenant alone, and beside each busy client."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks import tenant_data
from benchmarks.neighbours import busy_clients, generator_process, quiet_tenant
from benchmarks.neighbours.busy_clients import BusyClientPlan
from benchmarks.neighbours.quiet_tenant import QuietTenantPlan, QuietTenantResult
from benchmarks.neighbours.service import Service
from benchmarks.postgres import BASE_URL

_GENERATOR_MARGIN_S = 60
# How long after the load an outbound call may still be dialled, to be reported as late.
_DIAL_TIMEOUT_S = 60


@dataclass(frozen=True)
class Round:
    """The quiet tenant's load, and the busy client's responses by status.

    `dial_delays_s` are the seconds from each outbound call's order to its dialling; None for a call
    that was not dialled.
    """

    load: QuietTenantResult
    dial_delays_s: list[float | None]
    busy_statuses: Counter[int]


@dataclass
class ScenarioResult:
    """The adjacent rounds of a scenario: alone, and beside the busy client."""

    name: str
    single_rounds: list[Round] = field(default_factory=list)
    neighbour_rounds: list[Round] = field(default_factory=list)


class RoundRunner:
    """Run rounds of a length in seconds; each takes one of the service's busy tenants."""

    def __init__(self, service: Service, seconds: float) -> None:
        self._service, self._seconds = service, seconds
        self._run = 0

    def warm_up(self, seconds: float) -> None:
        """Run the quiet tenant's load before anything is measured."""
        self._run_quiet_tenant(seconds)

    def run_alone(self) -> Round:
        """Measure the quiet tenant alone."""
        tenant_data.mark_keys_used(self._service.database)
        load = self._run_quiet_tenant(self._seconds)
        return Round(load, self._wait_for_dials(load), Counter())

    def run_beside(self, scenario: str) -> Round:
        """Measure the quiet tenant beside a busy client of a new tenant."""
        tenant_data.mark_keys_used(self._service.database)
        tenant = self._service.busy_tenants.pop()
        plan = BusyClientPlan(
            scenario=scenario,
            port=self._service.web_server.port,
            relay_port=self._service.relay_server.port,
            tenant_id=tenant.id,
            api_key=tenant.api_keys["vca"],
            number=tenant.number,
            seed=self._run,
        )
        with generator_process.run_generator(busy_clients.run, plan) as busy_client:
            load = self._run_quiet_tenant(self._seconds)
            # The busy client goes on until the last outbound call has been dialled.
            dial_delays_s = self._wait_for_dials(load)
            busy_statuses = busy_client.stop()
        self._service.end_work_of(tenant)
        return Round(load, dial_delays_s, busy_statuses)

    def _run_quiet_tenant(self, seconds: float) -> QuietTenantResult:
        service = self._service
        self._run += 1
        plan = QuietTenantPlan(
            port=service.web_server.port,
            base_url=BASE_URL,
            secret_key=service.settings.secret_key,
            tenant_id=service.quiet_tenant.id,
            api_key=service.quiet_tenant.api_keys["vca"],
            number=service.quiet_tenant.number,
            phone_number_id=service.phone_number_id,
            seconds=seconds,
            run=self._run,
        )
        result: QuietTenantResult = generator_process.run_to_end(
            quiet_tenant.run, plan, seconds + _GENERATOR_MARGIN_S
        )
        return result

    def _wait_for_dials(self, load: QuietTenantResult) -> list[float | None]:
        return self._service.wait_for_dials(load.outbound_call_ids, _DIAL_TIMEOUT_S)
