"""A call at a terminal: typed lines are what the caller says, the agent's words come as it speaks.

What comes of it is shown at the end, for people.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from vca.kit import cli, json
from vca.tenant.calls import deeds, service
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.telephone import Heard, Speech, Telephone

_PRESS = re.compile(r"/press\b\s*(.*)")
_KEYS = re.compile(r"[0-9*#]{1,32}", re.ASCII)
_LONGEST = 2_000
_Turn = Mapping[str, Any]


def talk(telephone: Telephone, ref: CallRef, heard: Heard, *, quiet: bool) -> None:
    """The conversation, line by line, until one side hangs up; `quiet` shows nothing of it."""
    interactive = sys.stdin.isatty() and not quiet
    if interactive:
        told = "(type what you say; /press 1 presses a key, /hangup or Ctrl-D ends the call)"
        click.secho(told, dim=True)
    words(heard, quiet=quiet)
    while heard.open:
        line = _line(interactive)
        if line is None or line.strip() == "/hangup":
            telephone.hang_up(ref)
            return
        speech = _spoken(telephone, ref, line)
        if speech is not None:
            heard = _answer(telephone, ref, speech, quiet=quiet)


def words(heard: Heard, *, quiet: bool) -> None:
    """What was heard, as a line of its own."""
    if heard.text and not quiet:
        click.echo(_AGENT + heard.text)


def record(told: Mapping[str, Any]) -> str:
    """A call's record for people: how it was routed, what happened, what it took and cost."""
    lines = ["", click.style("The record of this call", bold=True)]
    shown = ("id", "status", "end_reason", "caller_id", "caller_number", "called_number")
    figures = ("ai_profile_id", "ai_profile_version", "started_at", "ended_at", "duration_seconds")
    card = {name: told[name] for name in (*shown, *figures, "tokens")}
    lines.append(cli.card({**card, "latency": latency(told["latency"])}))
    plain = json.loads(json.dumps(dict(told)))
    lines += ["", "route"]
    lines += [
        f"  {rule['rule']:8} {rule['verdict']:8} {rule['why']}" for rule in plain["route"]["rules"]
    ]
    lines += ["", "events"]
    lines += [f"  {event['timestamp'][11:23]} {event['event_type']}" for event in plain["events"]]
    lines += ["", f"turns ({len(plain['turns'])})"]
    return "\n".join([*lines, *_turns(plain["turns"])])


def comparison(told: Mapping[str, Any]) -> str:
    """A call and its replay for people, one under the other."""
    lines = [click.style("The call again", bold=True), *_compared(told["turns"])]
    if told["stopped_early"]:
        lines += ["", f"stopped early: {told['stopped_early'].replace('_', ' ')}"]
    lines.append("")
    sides = [{"": side, **told[side]} for side in ("original", "replay")]
    for side in sides:
        spent = side["tokens"]
        side["tokens"] = f"{spent['input']}+{spent['output']}"
        side["latency"] = latency(side["latency"])
    columns = ("", "end_reason", "tokens", "latency", "ai_profile_id", "ai_profile_version")
    return "\n".join([*lines, cli.table(sides, columns), "", f"kept as {told['replay_call_id']}"])


def latency(told: Mapping[str, Mapping[str, int]] | None) -> str:
    """Latency by stage in one line."""
    stages = (
        f"{stage} {took['p50_ms']} ms (p95 {took['p95_ms']} ms)"
        for stage, took in sorted((told or {}).items())
    )
    return ", ".join(stages) or "-"


def cost(turn: _Turn) -> str:
    """What an answer took and cost, in brackets; nothing for one that no model gave."""
    took_ms, tokens = turn["latency_ms"].get("model"), turn["tokens"]
    figures = [f"{took_ms} ms"] if took_ms is not None else []
    if any(tokens.values()):
        figures.append(f"{tokens['input']}+{tokens['output']} tokens")
    return f"({', '.join(figures)})" if figures else ""


_AGENT = click.style("agent  ", fg="green")


def _turns(turns: Iterable[_Turn]) -> Iterable[str]:
    for turn in turns:
        line = f"  {turn['sequence']:3} {turn['speaker']:7} {turn['text']} {cost(turn)}"
        yield line.rstrip()
        yield from (f"      · {deeds.told(action)}" for action in turn["actions"])


def _compared(turns: Iterable[_Turn]) -> Iterable[str]:
    for turn in turns:
        yield f"\n  {turn['sequence']:3} caller    {turn['caller']}"
        for side in ("original", "replay"):
            answer = turn[side]
            text = f"{answer['text']} {cost(answer)}" if answer else "-"
            yield f"      {side:9} {text}".rstrip()
            yield from (
                f"      · {deeds.told(action)}" for action in (answer or {}).get("actions", ())
            )


def _line(interactive: bool) -> str | None:
    """One typed line; None at the end of input or on Ctrl-C."""
    if interactive:
        click.secho("you    ", fg="cyan", nl=False)
    try:
        typed = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo()
        return None
    if not typed and interactive:
        click.echo()
    return typed.rstrip("\n") if typed else None


def _spoken(telephone: Telephone, ref: CallRef, line: str) -> Speech | None:
    """What a typed line does to the call; None for keys that no telephone has."""
    asked = _PRESS.fullmatch(line.strip())
    if asked is None:
        return telephone.speak(ref, line[:_LONGEST])
    keys = asked[1].replace(" ", "")
    if not _KEYS.fullmatch(keys):
        click.secho("(keys are 0-9, * and #: /press 1)", dim=True, err=True)
        return None
    return telephone.press(ref, keys)


def _answer(telephone: Telephone, ref: CallRef, speech: Speech, *, quiet: bool) -> Heard:
    """Show an answer as it comes, and what the agent does; a transfer is not answered here."""
    try:
        heard = _shown(speech, quiet=quiet)
    except KeyboardInterrupt:
        speech.close()
        telephone.hang_up(ref)
        return Heard("", (), None)
    for action in () if quiet else service.deeds(ref.tenant, call_id=ref.call_id):
        click.secho(f"       · {deeds.told(action)}", dim=True)
    if not heard.dials:
        return heard
    if not quiet:
        click.secho("       · nobody is dialled from here: no answer", dim=True)
    heard = telephone.leg(ref, "no_answer")
    words(heard, quiet=quiet)
    return heard


def _shown(speech: Speech, *, quiet: bool) -> Heard:
    begun = False
    while True:
        try:
            clause = next(speech)
        except StopIteration as end:
            if begun:
                click.echo()
            heard: Heard = end.value
            return heard
        if not quiet:
            click.echo(f" {clause}" if begun else _AGENT + clause, nl=False)
            begun = True
