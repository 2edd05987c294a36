"""`python -m benchmarks relay`: what a caller waits for the first words beyond the model."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import cost, postgres, web, world
from benchmarks.cpu import NotHere
from benchmarks.postgres import Busy, Postgres
from benchmarks.progress import say
from benchmarks.relay import callers, report
from benchmarks.relay.callers import Order, Outcome
from benchmarks.relay.report import Measured
from benchmarks.report import facts
from benchmarks.turns import model
from benchmarks.web import DidNotStart
from vca.kit.config import read_settings

TENANTS = 10
WORKERS, THREADS, POOL = 2, 128, 20
# The first one is a clause, and is said at once.
_WORDS = ("I see. ", "And ", "I ", "have ", "noted ", "what ", "you ", "told ", "me, ", "sir ")


@click.command("relay")
@click.option("--calls", default=200, show_default=True, type=click.IntRange(1, 250), help="Live.")
@click.option("--seconds", default=90.0, show_default=True, type=click.FloatRange(20))
@click.option("--hurried", is_flag=True, help="Callers neither listen nor speak: many more turns.")
@click.option("--note", default="", help="What the reader should know of this run.")
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(calls: int, seconds: float, hurried: bool, note: str, keep: bool) -> None:
    """Measure the overhead to the first words with two hundred live calls on sockets."""
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
        raise click.ClickException(f"{measured.errors} calls or turns failed")


def _measure(
    stack: ExitStack, calls: int, seconds: float, hurried: bool
) -> tuple[Measured, Postgres]:
    say("starting Postgres and the model")
    server = stack.enter_context(postgres.served())
    fake = stack.enter_context(model.served(_WORDS))
    environ = {**cost.ENVIRON, **server.environ(), **_environ(fake.url)}
    made = world.populate(read_settings(environ), server, TENANTS)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    say(f"starting gunicorn twice, the relay's with {WORKERS} times {THREADS} threads")
    requests = stack.enter_context(web.served("wsgi:app", environ, folder))
    sockets = stack.enter_context(web.served("wsgi:app", environ, folder, group="relay"))
    order = Order(
        web_port=requests.port,
        relay_port=sockets.port,
        base_url=postgres.BASE_URL,
        numbers=tuple(tenant.number for tenant in made),
        calls=calls,
        seconds=seconds,
        warm_s=seconds / 4,
        hurried=hurried,
    )
    say(f"{calls} calls for {seconds:g} s")
    cpu_s = sockets.cpu_s()
    outcome = callers.run(order)
    return _joined(outcome, fake.began_s(), sockets.cpu_s() - cpu_s), server


def _environ(model_url: str) -> dict[str, str]:
    return {
        "RELAY_SLOTS": str(WORKERS * THREADS - 6),
        "RELAY_WORKERS": str(WORKERS),
        "RELAY_THREADS": str(THREADS),
        "DATABASE_POOL_SIZE": str(POOL),
        "TELEPHONY_PROVIDER": "twilio",
        "TWILIO_ACCOUNT_SID": callers.ACCOUNT,
        "TWILIO_AUTH_TOKEN": callers.TOKEN,
        "LLM_BASE_URL": model_url,
        "LLM_API_KEY": "a-key-of-the-benchmark",
        "LLM_MODEL": "fake",
    }


def _joined(outcome: Outcome, model_s: dict[str, float], cpu_s: float) -> Measured:
    """Each turn beside what the model took of it; one that the model never saw is an error."""
    marks = [mark for mark in outcome.took_s if mark in model_s]
    for error in sorted(set(outcome.errors))[:5]:
        say(f"error: {error}")
    return Measured(
        first_s=[outcome.took_s[mark] for mark in marks],
        models_s=[model_s[mark] for mark in marks],
        sockets=outcome.sockets,
        answered=outcome.answered,
        errors=len(outcome.errors) + len(outcome.took_s) - len(marks),
        cpu_s=cpu_s,
    )


def _facts(
    server: Postgres, calls: int, seconds: float, hurried: bool, note: str
) -> dict[str, object]:
    words = "do not wait for words" if hurried else "hear and speak 150 words a minute"
    return facts(
        Postgres=server.version,
        run=f"{seconds:g} s, of which the first quarter is not counted",
        calls=f"{calls} live at once, each on one socket; callers {words}",
        gunicorn=f"gunicorn.conf.py, the relay's group with {WORKERS} workers (gthread) of "
        f"{THREADS} threads, {POOL} connections each",
        **({"note": note} if note else {}),
    )
