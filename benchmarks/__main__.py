"""The `python -m benchmarks` command: runs all benchmarks, or the one that is named."""

import sys

import click

from benchmarks import erasure, job_cost, lane_cost, request_cost, schema_cost
from benchmarks.deliveries import command as deliveries
from benchmarks.fleet import command as fleet
from benchmarks.limits import command as limits
from benchmarks.neighbours import command as neighbours
from benchmarks.relay import command as relay
from benchmarks.turns import command as turns
from vca.observability import log


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Run the benchmarks; without a subcommand all of them, the fleet last."""
    log.configure("warning", stream=sys.stderr)
    if context.invoked_subcommand is None:
        context.invoke(schema_cost.command)
        context.invoke(lane_cost.command)
        context.invoke(job_cost.command)
        context.invoke(request_cost.command)
        context.invoke(turns.command)
        context.invoke(relay.command)
        context.invoke(limits.command)
        context.invoke(deliveries.command)
        context.invoke(neighbours.command)
        context.invoke(erasure.command)
        context.invoke(fleet.command)


main.add_command(schema_cost.command)
main.add_command(lane_cost.command)
main.add_command(job_cost.command)
main.add_command(request_cost.command)
main.add_command(turns.command)
main.add_command(relay.command)
main.add_command(limits.command)
main.add_command(deliveries.command)
main.add_command(neighbours.command)
main.add_command(erasure.command)
main.add_command(fleet.command)

if __name__ == "__main__":
    main()
