"""Print how many operations, places and cells each generated table has."""

import click

from tests.generated.tables import format_counts


@click.command("generated")
def main() -> None:
    """Print the counts of the generated tables, to compare before and after a change."""
    for line in format_counts():
        click.echo(line)


if __name__ == "__main__":
    main()
