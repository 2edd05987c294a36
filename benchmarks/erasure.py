"""`python -m benchmarks erasure`: how long the search for a number in a tenant's texts takes."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import click
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import postgres, request_cost, tenant_data
from benchmarks.postgres import BenchmarkRunning
from benchmarks.progress import print_progress
from vca.app import create_services
from vca.kit import clock, storage
from vca.services import Services
from vca.settings import Settings, read_settings
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.privacy import erasure, service

TARGET_S = 60.0
_NUMBER = "+14155550123"
_SPELLING = "my wife is at four one five, five five five, oh one two three"
# The number occurs once in this many turns.
_MENTION_INTERVAL = 10_000
_BATCH_SIZE = 2_000
_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEMPLATES = (
    "I would like to come at {hour}:30 on the {day}th, or at {hour}:45 if that is better.",
    "The order number is {order} and I paid {price} dollars for it, I think, not more.",
    "We live at {price} West {day}th Street, and my daughter is {word} and my son is {word}.",
    "Please call me back at {word} {word} {word}, {word} {word} {word}, {order}, thank you.",
    "No, that is all, thank you very much for your help, have a nice day and good bye.",
    "Ich komme am {day}. um {hour} Uhr {day}, meine Tochter ist fünfunddreißig, ich siebzig.",
)
_INSERT_CALL = text(
    "INSERT INTO calls (id, tenant_id, direction, status, provider_type, simulated, called_number,"
    " caller_id, started_at, ended_at, route, call_metadata)"
    " VALUES (:id, :tenant, 'inbound', 'completed', 'fake', false, '+442070000000', 'withheld',"
    " now(), now(), '{}', '{}')"
)
_INSERT_TURNS = text(
    "INSERT INTO turns (call_id, sequence, tenant_id, speaker, text, started_at, latency_ms,"
    " actions, tokens) SELECT :call, :first + n, :tenant, 'caller', turn, now(),"
    " '{\"model\": 712}', '[]', '{}' FROM unnest(CAST(:turns AS text[])) WITH ORDINALITY t(turn, n)"
)


@click.command("erasure", short_help="Measure an erasure in many turns.")
@click.option("--turns", default=100_000, show_default=True, type=click.IntRange(1))
def command(turns: int) -> None:
    """Measure the erasure of a number in a tenant with 100,000 turns of other callers."""
    try:
        with ExitStack() as stack:
            took_s, cpu_s, mention_count = _measure(stack, turns)
    except BenchmarkRunning as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{turns:,} turns: {took_s:.1f} s, {cpu_s:.1f} s of them CPU of the worker;"
        f" {mention_count} mentions erased; target {TARGET_S:g} s"
    )
    if took_s > TARGET_S:
        raise click.ClickException("the target was missed")


def _measure(stack: ExitStack, turn_count: int) -> tuple[float, float, int]:
    """Return (seconds, CPU seconds, number of mentions) of one erasure."""
    print_progress("starting Postgres")
    database = stack.enter_context(postgres.serve_database())
    settings = read_settings({**request_cost.ENVIRON, **database.environ()})
    [benchmark_tenant] = tenant_data.create_tenants(settings, database, 1)
    tenant = TenantRef(UUID(benchmark_tenant.id))
    services = _create_services(
        stack, settings, Path(stack.enter_context(tempfile.TemporaryDirectory()))
    )
    print_progress(f"inserting {turn_count:,} turns")
    _insert_turns(tenant, turn_count, services=services)
    with tenant_session(tenant, database=services.database) as session:
        request = service.request_erasure(
            session, tenant=tenant, number=_NUMBER, now=clock.now(), services=services
        )
    print_progress("erasing")
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    erasure.run_erasure(tenant, request_id=request["id"], services=services)
    took_s, cpu_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
    with tenant_session(tenant, database=services.database) as session:
        result = service.get_erasure(session, erasure_id=request["id"])
    if result["status"] != "done":
        raise click.ClickException(f"the erasure is {result['status']}")
    return took_s, cpu_s, result["removed"]["mentions"]


def _create_services(stack: ExitStack, settings: Settings, folder: Path) -> Services:
    """Return the services of a worker with this database and a store in this folder."""
    services = replace(
        create_services(settings), store=storage.open_store(f"folder:{folder}", root=folder)
    )
    stack.callback(services.database.close)
    return services


def _insert_turns(tenant: TenantRef, count: int, *, services: Services) -> None:
    call_id = uuid4()
    turns = _generate_turns(count)
    with tenant_session(tenant, database=services.database) as session:
        session.execute(_INSERT_CALL, {"id": call_id, "tenant": tenant.id})
    for first in range(0, count, _BATCH_SIZE):
        batch = [next(turns) for _ in range(min(_BATCH_SIZE, count - first))]
        with tenant_session(tenant, database=services.database) as session:
            _insert_batch(session, tenant, call_id, first, batch)


def _insert_batch(
    session: Session, tenant: TenantRef, call_id: UUID, first: int, turns: list[str]
) -> None:
    parameters = {"call": call_id, "first": first, "tenant": tenant.id, "turns": turns}
    session.execute(_INSERT_TURNS, parameters)


def _generate_turns(count: int) -> Iterator[str]:
    rng = Random(20_261_130)
    for position in range(count):
        if position % _MENTION_INTERVAL == 0:
            yield _SPELLING
            continue
        template = rng.choice(_TEMPLATES).replace("{word}", "{}")
        words = rng.choices(_DIGIT_WORDS, k=template.count("{}"))
        yield template.format(
            *words,
            hour=rng.randint(0, 23),
            day=rng.randint(1, 28),
            order=rng.randint(1_000, 9_999_999),
            price=rng.randint(1, 999),
        )
