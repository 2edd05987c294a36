"""`python -m benchmarks relay`: the wait for the first words, beyond the model's own time."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import postgres, request_cost, tenant_data, web
from benchmarks.cpu import ProcessNotLocal
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.relay import callers, report
from benchmarks.relay.callers import RelayLoadPlan, RelayLoadResult
from benchmarks.relay.report import RelayResult
from benchmarks.report import run_facts
from benchmarks.turns import fake_model
from benchmarks.web import ServerNotStarted
from vca.settings import read_settings

TENANTS = 10
WORKERS, THREADS, POOL = 2, 128, 20
# The first token is a complete chunk and is spoken at once.
_MODEL_WORDS = (
    "I see. ",
    "And ",
    "I ",
    "have ",
    "noted ",
    "what ",
    "you ",
    "told ",
    "me, ",
    "sir ",
)


@click.command("relay", short_help="Measure the wait for the first words.")
@click.option(
    "--calls", default=200, show_default=True, type=click.IntRange(1, 250), help="Concurrent calls."
)
@click.option("--seconds", default=90.0, show_default=True, type=click.FloatRange(20))
@click.option(
    "--hurried", "think_only", is_flag=True, help="Callers only think, for many more turns."
)
@click.option("--note", default="", help="Remark for the results.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(calls: int, seconds: float, think_only: bool, note: str, keep: bool) -> None:
    """Measure the overhead to the first words with two hundred live calls on WebSockets."""
    try:
        with ExitStack() as stack:
            result, database = _measure(stack, calls, seconds, think_only)
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    result_facts = _run_facts(database, calls, seconds, think_only, note) | report.extra_facts(
        result
    )
    click.echo(f"\n{report.format_table(result)}\n")
    for name, value in report.extra_facts(result).items():
        click.echo(f"{name}: {value}")
    if keep:
        click.echo(f"Written: {report.write_results(result, result_facts)}")
    if result.errors:
        raise click.ClickException(f"{result.errors} calls or turns failed")


def _measure(
    stack: ExitStack, calls: int, seconds: float, think_only: bool
) -> tuple[RelayResult, BenchmarkDatabase]:
    print_progress("starting Postgres and the model")
    database = stack.enter_context(postgres.serve_database())
    model_server = stack.enter_context(fake_model.serve_model(_MODEL_WORDS))
    environ = {**request_cost.ENVIRON, **database.environ(), **_relay_environ(model_server.url)}
    tenants = tenant_data.create_tenants(read_settings(environ), database, TENANTS)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    print_progress(
        f"starting gunicorn twice, the relay with {WORKERS} workers of {THREADS} threads"
    )
    web_server = stack.enter_context(web.serve_app("wsgi:app", environ, folder))
    relay_server = stack.enter_context(web.serve_app("wsgi:app", environ, folder, group="relay"))
    plan = RelayLoadPlan(
        web_port=web_server.port,
        relay_port=relay_server.port,
        base_url=postgres.BASE_URL,
        numbers=tuple(tenant.number for tenant in tenants),
        calls=calls,
        seconds=seconds,
        warm_up_s=seconds / 4,
        think_only=think_only,
    )
    print_progress(f"{calls} calls for {seconds:g} s")
    cpu_s = relay_server.cpu_s()
    load_result = callers.run_callers(plan)
    return _match_turns(
        load_result, model_server.first_token_s(), relay_server.cpu_s() - cpu_s
    ), database


def _relay_environ(model_url: str) -> dict[str, str]:
    return {
        "RELAY_SLOTS": str(WORKERS * THREADS - 6),
        "RELAY_WORKERS": str(WORKERS),
        "RELAY_THREADS": str(THREADS),
        "DATABASE_POOL_SIZE": str(POOL),
        "TELEPHONY_PROVIDER": "twilio",
        "TWILIO_ACCOUNT_SID": callers.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": callers.AUTH_TOKEN,
        "LLM_BASE_URL": model_url,
        "LLM_API_KEY": "a-key-of-the-benchmark",
        "LLM_MODEL": "fake",
    }


def _match_turns(
    load_result: RelayLoadResult, model_s: dict[str, float], cpu_s: float
) -> RelayResult:
    """Match each turn with the model's time for it; a turn that the model never saw is an error."""
    marks = [mark for mark in load_result.durations_s if mark in model_s]
    for error in sorted(set(load_result.errors))[:5]:
        print_progress(f"error: {error}")
    return RelayResult(
        first_s=[load_result.durations_s[mark] for mark in marks],
        model_s=[model_s[mark] for mark in marks],
        sockets=load_result.sockets,
        answered_turns=load_result.answered_turns,
        errors=len(load_result.errors) + len(load_result.durations_s) - len(marks),
        cpu_s=cpu_s,
    )


def _run_facts(
    database: BenchmarkDatabase, calls: int, seconds: float, think_only: bool, note: str
) -> dict[str, object]:
    words = "do not listen or speak" if think_only else "listen and speak at 150 words a minute"
    return run_facts(
        Postgres=database.version,
        run=f"{seconds:g} s, of which the first quarter is not counted",
        calls=f"{calls} live at once, each on one WebSocket; callers {words}",
        gunicorn=f"gunicorn.conf.py, the relay's group with {WORKERS} workers (gthread) of "
        f"{THREADS} threads, {POOL} connections each",
        **({"note": note} if note else {}),
    )
