"""`python -m benchmarks turns`: how long a caller waits beyond the model's own time."""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import builds, postgres, request_cost, tenant_data, web
from benchmarks.builds import UnknownRevision
from benchmarks.cpu import ProcessNotLocal
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import run_facts
from benchmarks.turns import callers, comparison, fake_model, report
from benchmarks.turns.callers import TurnLoadPlan, TurnLoadResult
from benchmarks.turns.report import TurnsResult
from benchmarks.web import ServerNotStarted
from vca.settings import read_settings

TENANTS = 10
WORKERS, THREADS, POOL = 2, 64, 16
ROUNDS = 2
SHAPES = {"fast": fake_model.FAST, "slow": fake_model.SLOW}


@click.command("turns", short_help="Measure VCA's own share of a turn.")
@click.option(
    "--calls", default=100, show_default=True, type=click.IntRange(1), help="Concurrent calls."
)
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(10))
@click.option(
    "--hurried", "think_only", is_flag=True, help="Callers only think, for many more turns."
)
@click.option("--against", metavar="REV", help="Compare the CPU per turn with another revision.")
@click.option("--note", default="", help="Remark for the results.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(
    calls: int, seconds: float, think_only: bool, against: str | None, note: str, keep: bool
) -> None:
    """Measure VCA's own share of a turn with live calls, a fast and a slow streaming model.

    With --against, measure instead the CPU per turn of this checkout and of another revision, in
    alternate rounds, over HTTP and over voice WebSockets, with answers of 20 and of 80 tokens.
    Callers only think, their waiting is not measured, and --seconds is the length of one round.
    """
    try:
        if against is not None:
            _compare(builds.commit_of(against), calls=calls, seconds=seconds, note=note, keep=keep)
            return
        with ExitStack() as stack:
            results, database = _measure(stack, calls, seconds, think_only)
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted, UnknownRevision) as error:
        raise click.ClickException(str(error)) from error
    result_facts = _run_facts(database, calls, seconds, think_only, note) | report.extra_facts(
        results
    )
    click.echo(f"\n{report.format_table(results)}\n")
    for name, value in report.extra_facts(results).items():
        click.echo(f"{name}: {value}")
    if keep:
        click.echo(f"Written: {report.write_results(results, result_facts)}")
    if errors := sum(result.errors for result in results.values()):
        raise click.ClickException(f"{errors} turns failed")


def _compare(commit: str, *, calls: int, seconds: float, note: str, keep: bool) -> None:
    comparisons = comparison.compare_with(commit, calls=calls, seconds=seconds)
    facts = run_facts(
        revision=commit,
        run=f"{comparison.ROUNDS} rounds of {seconds:g} s of each, alternately; {calls} calls",
        **({"note": note} if note else {}),
    )
    click.echo(f"\n{report.format_comparisons(comparisons)}\n")
    if keep:
        click.echo(f"Written: {report.write_comparisons(comparisons, facts)}")
    if errors := sum(compared.errors for compared in comparisons):
        raise click.ClickException(f"{errors} turns failed")


def _measure(
    stack: ExitStack, calls: int, seconds: float, think_only: bool
) -> tuple[dict[str, TurnsResult], BenchmarkDatabase]:
    """Return the results with the fast and with the slow model, which answer in turns."""
    print_progress("starting Postgres and the model")
    database = stack.enter_context(postgres.serve_database())
    model_server = stack.enter_context(fake_model.serve_model())
    environ = {**request_cost.ENVIRON, **database.environ(), **_turns_environ(model_server.url)}
    settings = read_settings(environ)
    tenants = tenant_data.create_tenants(settings, database, TENANTS)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    print_progress(f"starting gunicorn with {WORKERS} workers of {THREADS} threads")
    web_server = stack.enter_context(web.serve_app("wsgi:app", environ, folder))
    plan = TurnLoadPlan(
        port=web_server.port,
        base_url=postgres.BASE_URL,
        secret_key=settings.secret_key,
        numbers=tuple(tenant.number for tenant in tenants),
        calls=calls,
        seconds=seconds / (ROUNDS * len(SHAPES)),
        warm_up_s=seconds / (ROUNDS * len(SHAPES)) / 5,
        think_only=think_only,
    )
    results: dict[str, TurnsResult] = {}
    for run, (name, shape) in enumerate(list(SHAPES.items()) * ROUNDS):
        print_progress(f"{calls} calls for {plan.seconds:g} s with the {name} model")
        model_server.set_shape(shape)
        web_s, postgres_s = web_server.cpu_s(), database.cpu_s()
        load_result = callers.run_callers(replace(plan, run=run))
        web_s, postgres_s = web_server.cpu_s() - web_s, database.cpu_s() - postgres_s
        result = _match_turns(load_result, model_server.durations_s(), web_s, postgres_s)
        results[name] = result + results[name] if name in results else result
    return results, database


def _turns_environ(model_url: str) -> dict[str, str]:
    return {
        "WEB_WORKERS": str(WORKERS),
        "WEB_THREADS": str(THREADS),
        "DATABASE_POOL_SIZE": str(POOL),
        "LLM_BASE_URL": model_url,
        "LLM_API_KEY": "a-key-of-the-benchmark",
        "LLM_MODEL": "fake",
    }


def _match_turns(
    load_result: TurnLoadResult, model_s: dict[str, float], web_s: float, postgres_s: float
) -> TurnsResult:
    """Match each turn with the model's time for it; a turn that the model never saw is an error."""
    marks = [mark for mark in load_result.durations_s if mark in model_s]
    for error in sorted(set(load_result.errors))[:5]:
        print_progress(f"error: {error}")
    return TurnsResult(
        turns_s=[load_result.durations_s[mark] for mark in marks],
        model_s=[model_s[mark] for mark in marks],
        elapsed_s=load_result.elapsed_s,
        answered_turns=load_result.answered_turns,
        errors=len(load_result.errors) + len(load_result.durations_s) - len(marks),
        web_cpu_s=web_s,
        postgres_cpu_s=postgres_s,
    )


def _run_facts(
    database: BenchmarkDatabase, calls: int, seconds: float, think_only: bool, note: str
) -> dict[str, object]:
    low, high = callers.THINK_RANGE_S
    words = f"listen and speak at {callers.WORDS_PER_MINUTE} words a minute"
    return run_facts(
        Postgres=database.version,
        run=f"{seconds:g} s, {ROUNDS} rounds of each model in turns; the first fifth of a round is "
        "not counted",
        calls=f"{calls} live at once, {callers.TURNS_PER_CALL} turns each; "
        f"callers {'do not listen or speak' if think_only else words}, and think {low} to {high} s",
        gunicorn=f"gunicorn.conf.py, {WORKERS} workers (gthread) of {THREADS} threads, "
        f"{POOL} connections each",
        **({"note": note} if note else {}),
    )
