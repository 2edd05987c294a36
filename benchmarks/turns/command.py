"""`python -m benchmarks turns`: what a caller waits beyond what the model takes."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import cost, postgres, web, world
from benchmarks.cpu import NotHere
from benchmarks.postgres import Busy, Postgres
from benchmarks.progress import say
from benchmarks.report import facts
from benchmarks.turns import callers, model, report
from benchmarks.turns.callers import Order, Outcome
from benchmarks.turns.report import Measured
from benchmarks.web import DidNotStart
from vca.kit.config import read_settings

TENANTS = 10
WORKERS, THREADS, POOL = 2, 64, 16


@click.command("turns")
@click.option("--calls", default=100, show_default=True, type=click.IntRange(1), help="Live.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(10))
@click.option("--hurried", is_flag=True, help="Callers neither listen nor speak: many more turns.")
@click.option("--note", default="", help="What the reader should know of this run.")
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(calls: int, seconds: float, hurried: bool, note: str, keep: bool) -> None:
    """Measure VCA's own share of a turn, with a hundred live calls and a model that streams."""
    try:
        with ExitStack() as stack:
            measured, server = _measure(stack, calls, seconds, hurried)
    except (Busy, NotHere, DidNotStart) as error:
        raise click.ClickException(str(error)) from error
    told = _facts(server, calls, seconds, hurried, note) | report.more(measured)
    click.echo(f"\n{report.table(measured)}\n")
    for name, value in report.more(measured).items():
        click.echo(f"{name}: {value}")
    if keep:
        click.echo(f"Written: {report.write(measured, told)}")
    if measured.errors:
        raise click.ClickException(f"{measured.errors} turns failed")


def _measure(
    stack: ExitStack, calls: int, seconds: float, hurried: bool
) -> tuple[Measured, Postgres]:
    say("starting Postgres and the model")
    server = stack.enter_context(postgres.served())
    fake = stack.enter_context(model.served())
    environ = {**cost.ENVIRON, **server.environ(), **_turns_environ(fake.url)}
    settings = read_settings(environ)
    made = world.populate(settings, server, TENANTS)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    say(f"starting gunicorn with {WORKERS} times {THREADS} threads")
    served = stack.enter_context(web.served("wsgi:app", environ, folder))
    order = Order(
        port=served.port,
        base_url=postgres.BASE_URL,
        secret_key=settings.secret_key,
        numbers=tuple(tenant.number for tenant in made),
        calls=calls,
        seconds=seconds,
        warm_s=seconds / 5,
        hurried=hurried,
    )
    say(f"{calls} calls for {seconds:g} s")
    web_s, postgres_s = served.cpu_s(), server.cpu_s()
    outcome = callers.run(order)
    web_s, postgres_s = served.cpu_s() - web_s, server.cpu_s() - postgres_s
    return _joined(outcome, fake.took_s(), web_s, postgres_s), server


def _turns_environ(model_url: str) -> dict[str, str]:
    return {
        "WEB_WORKERS": str(WORKERS),
        "WEB_THREADS": str(THREADS),
        "DATABASE_POOL_SIZE": str(POOL),
        "LLM_BASE_URL": model_url,
        "LLM_API_KEY": "a-key-of-the-benchmark",
        "LLM_MODEL": "fake",
    }


def _joined(
    outcome: Outcome, model_s: dict[str, float], web_s: float, postgres_s: float
) -> Measured:
    """Each turn beside what the model took of it; one that the model never saw is an error."""
    marks = [mark for mark in outcome.took_s if mark in model_s]
    for error in sorted(set(outcome.errors))[:5]:
        say(f"error: {error}")
    return Measured(
        turns_s=[outcome.took_s[mark] for mark in marks],
        models_s=[model_s[mark] for mark in marks],
        elapsed_s=outcome.elapsed_s,
        answered=outcome.answered,
        errors=len(outcome.errors) + len(outcome.took_s) - len(marks),
        web_cpu_s=web_s,
        postgres_cpu_s=postgres_s,
    )


def _facts(
    server: Postgres, calls: int, seconds: float, hurried: bool, note: str
) -> dict[str, object]:
    low, high = callers.THINKS_S
    words = f"hear and speak {callers.WORDS_A_MINUTE} words a minute"
    return facts(
        Postgres=server.version,
        run=f"{seconds:g} s, of which the first fifth is not counted",
        calls=f"{calls} live at once, {callers.TURNS} turns each; "
        f"callers {'do not wait for words' if hurried else words}, and think {low} to {high} s",
        gunicorn=f"gunicorn.conf.py, {WORKERS} workers (gthread) of {THREADS} threads, "
        f"{POOL} connections each",
        **({"note": note} if note else {}),
    )
