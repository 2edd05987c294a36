"""A simulated call in the terminal: each typed line is an utterance, the agent's text streams."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from vca import cli
from vca.conversation.llm.models import Models
from vca.kit import json
from vca.services import Services
from vca.telephony.providers import Carriers
from vca.tenant.calls.core import state_machine
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.simulation import simulated_calls
from vca.tenant.calls.simulation.simulated_calls import SimulatedReply, SimulatedReplyStream
from vca.tenant.calls.simulation.simulated_phone import SimulatedPhone

_PRESS_COMMAND = re.compile(r"/press\b\s*(.*)")
_DTMF_KEYS = re.compile(r"[0-9*#]{1,32}", re.ASCII)
_MAX_LINE_CHARS = 2_000
_Turn = Mapping[str, Any]


@dataclass(frozen=True)
class TerminalCall:
    """A simulated call in this terminal. `quiet` prints nothing."""

    ref: CallRef
    carriers: Carriers
    services: Services
    quiet: bool

    def run(self, reply: SimulatedReply) -> None:
        """Send typed lines until one side hangs up."""
        interactive = sys.stdin.isatty() and not self.quiet
        if interactive:
            help_text = (
                "(Type what you say. /press 1 sends a key. /hangup or Ctrl-D ends the call.)"
            )
            click.secho(help_text, dim=True)
        self._print_text(reply.reply)
        self._print_actions(reply)
        while reply.status not in state_machine.TERMINAL:
            if reply.status == "transferring":
                reply = self._end_transfer()
                continue
            line = _read_line(interactive)
            if line is None or line.strip() == "/hangup":
                self._hang_up()
                return
            caller_input = _parse_line(line)
            if caller_input is not None:
                answered = self._answer(caller_input)
                if answered is None:
                    return
                reply = answered

    def _answer(self, caller_input: Mapping[str, str]) -> SimulatedReply | None:
        """Print an answer while it streams, then the actions. None: Ctrl-C has hung up."""
        reply_stream = simulated_calls.stream_reply(
            self.ref.tenant,
            carriers=self.carriers,
            services=self.services,
            call_id=self.ref.call_id,
            **caller_input,
        )
        try:
            reply = _print_stream(reply_stream, quiet=self.quiet)
        except KeyboardInterrupt:
            reply_stream.close()
            self._hang_up()
            return None
        self._print_actions(reply)
        return reply

    def _end_transfer(self) -> SimulatedReply:
        if not self.quiet:
            click.secho("       · simulations dial nobody: no answer", dim=True)
        reply = simulated_calls.settle_transfer(
            self.ref.tenant,
            carriers=self.carriers,
            services=self.services,
            call_id=self.ref.call_id,
            transfer_outcome="no_answer",
        )
        self._print_text(reply.reply)
        self._print_actions(reply)
        return reply

    def _hang_up(self) -> None:
        SimulatedPhone(self.carriers.simulator, self.services).hang_up(self.ref)

    def _print_text(self, text: str) -> None:
        if text and not self.quiet:
            click.echo(_AGENT_LABEL + text)

    def _print_actions(self, reply: SimulatedReply) -> None:
        for action in () if self.quiet else reply.actions:
            click.secho(f"       · {_describe_action(action)}", dim=True)


def print_model_notice(models: Models, *, quiet: bool) -> None:
    """Say so if a scripted model answers, because its answers say nothing about a real one's."""
    if not models.primary.for_real_callers and not quiet:
        notice = (
            "(A scripted model answers, which understands only a few sentences. For a real one set "
            "LLM_BASE_URL, LLM_API_KEY and LLM_MODEL in .env.)"
        )
        click.secho(notice, dim=True)


def format_call_record(call_record: Mapping[str, Any]) -> str:
    """Return a call's record as text: its fields, route, events and turns."""
    lines = ["", click.style("Call record", bold=True)]
    first_fields = ("id", "status", "end_reason", "caller_id", "caller_number", "called_number")
    more_fields = (
        "ai_profile_id",
        "ai_profile_version",
        "started_at",
        "ended_at",
        "duration_seconds",
    )
    summary = {name: call_record[name] for name in (*first_fields, *more_fields, "tokens")}
    lines.append(cli.format_record({**summary, "latency": format_latency(call_record["latency"])}))
    json_record = json.loads(json.dumps(dict(call_record)))
    lines += ["", "route"]
    lines += [
        f"  {rule['rule']:8} {rule['verdict']:8} {rule['why']}"
        for rule in json_record["route"]["rules"]
    ]
    lines += ["", "events"]
    lines += [
        f"  {event['timestamp'][11:23]} {event['event_type']}" for event in json_record["events"]
    ]
    lines += ["", f"turns ({len(json_record['turns'])})"]
    return "\n".join([*lines, *_format_turns(json_record["turns"])])


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """Return the comparison of a call with its replay as text."""
    lines = [click.style("Replay", bold=True), *_format_compared_turns(comparison["turns"])]
    if comparison["stopped_early"]:
        lines += ["", f"stopped early: {comparison['stopped_early'].replace('_', ' ')}"]
    lines.append("")
    sides = [{"": side, **comparison[side]} for side in ("original", "replay")]
    for side in sides:
        tokens = side["tokens"]
        side["tokens"] = f"{tokens['input']}+{tokens['output']}"
        side["latency"] = format_latency(side["latency"])
    columns = ("", "end_reason", "tokens", "latency", "ai_profile_id", "ai_profile_version")
    return "\n".join(
        [
            *lines,
            cli.format_table(sides, columns),
            "",
            f"stored as call {comparison['replay_call_id']}",
        ]
    )


def format_latency(latency_by_stage: Mapping[str, Mapping[str, int]] | None) -> str:
    """Return the latency per stage in one line."""
    stages = (
        f"{stage} {figures['p50_ms']} ms (p95 {figures['p95_ms']} ms)"
        for stage, figures in sorted((latency_by_stage or {}).items())
    )
    return ", ".join(stages) or "-"


def format_cost(turn: _Turn) -> str:
    """Return an answer's latency and tokens in brackets, or nothing if no model answered."""
    took_ms, tokens = turn["latency_ms"].get("model"), turn["tokens"]
    figures = [f"{took_ms} ms"] if took_ms is not None else []
    if any(tokens.values()):
        figures.append(f"{tokens['input']}+{tokens['output']} tokens")
    return f"({', '.join(figures)})" if figures else ""


_AGENT_LABEL = click.style("agent  ", fg="green")


def _format_turns(turns: Iterable[_Turn]) -> Iterable[str]:
    for turn in turns:
        line = f"  {turn['sequence']:3} {turn['speaker']:7} {turn['text']} {format_cost(turn)}"
        yield line.rstrip()
        yield from (f"      · {_describe_action(action)}" for action in turn["actions"])


def _format_compared_turns(turns: Iterable[_Turn]) -> Iterable[str]:
    for turn in turns:
        yield f"\n  {turn['sequence']:3} caller    {turn['caller']}"
        for side in ("original", "replay"):
            answer = turn[side]
            text = f"{answer['text']} {format_cost(answer)}" if answer else "-"
            yield f"      {side:9} {text}".rstrip()
            yield from (
                f"      · {_describe_action(action)}"
                for action in (answer or {}).get("actions", ())
            )


def _describe_action(action: Mapping[str, Any]) -> str:
    """Return an action of a turn as text."""
    match action["kind"]:
        case "take_message":
            contact = " ".join(filter(None, (action["name"], action["number"]))) or "the caller"
            return f"took a message from {contact}: {action['reason']}"
        case "transfer":
            return f"transfers the caller to {action['target']}"
        case "to_fallback":
            return "forwards the caller to the fallback number"
        case "hang_up":
            return f"hangs up ({action['end_reason']})"
        case "forward":
            return f"forwards the caller to {action['forward_to']}, which is not dialled"
        case "take_voicemail":
            return "takes a voicemail: the next line"
        case "reject":
            return f"does not answer the call ({action['end_reason']})"
        case other:
            return str(other)


def _read_line(interactive: bool) -> str | None:
    """Return one typed line, or None at the end of input or on Ctrl-C."""
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


def _parse_line(line: str) -> Mapping[str, str] | None:
    """Return the text or the keys of a typed line; None if it names keys that do not exist."""
    press_command = _PRESS_COMMAND.fullmatch(line.strip())
    if press_command is None:
        return {"text": line[:_MAX_LINE_CHARS]}
    keys = press_command[1].replace(" ", "")
    if not _DTMF_KEYS.fullmatch(keys):
        click.secho("(Keys are 0-9, * and #, for example /press 1.)", dim=True, err=True)
        return None
    return {"keys": keys}


def _print_stream(reply_stream: SimulatedReplyStream, *, quiet: bool) -> SimulatedReply:
    started = False
    for text in reply_stream:
        if not quiet:
            click.echo(f" {text}" if started else _AGENT_LABEL + text, nl=False)
            started = True
    if started:
        click.echo()
    return reply_stream.outcome
