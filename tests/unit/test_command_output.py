"""Tables, records and errors of commands: one line for each row and value, of bounded length."""

import click
import pytest

from vca import cli


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\t", "\x1b", "\x00", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"]
)
def test_a_control_character_in_a_value_is_replaced(character: str) -> None:
    rows = [{"id": 1, "name": f"Acme{character}2   Forged"}, {"id": 3, "name": "Ünïcode 名"}]

    table = cli.format_table(rows, ("id", "name"))

    assert table.splitlines() == ["id  name", "1   Acme�2   Forged", "3   Ünïcode 名"]
    assert cli.format_record(rows[0]).splitlines()[1] == "name  Acme�2   Forged"
    assert cli.format_record({"names": [f"a{character}b", "c"]}) == "names  a�b, c"


def test_an_error_with_a_very_long_value_is_cut() -> None:
    with pytest.raises(click.ClickException) as raised:
        cli.fail("Not a valid value: " + "0" * 1_000_000)

    assert 1_000 < len(raised.value.message) < 3_000
    assert raised.value.message.endswith("0…")


def test_an_error_with_very_many_lines_is_cut() -> None:
    with pytest.raises(click.ClickException) as raised:
        cli.fail("Not a valid value:\n" + "0\n" * 1_000_000)

    assert len(raised.value.message) < 3_000
    assert raised.value.message.endswith("0\n…")


def test_the_last_lines_of_a_log_stay_in_an_error() -> None:
    log_lines = [f"  {number} {'x' * 1_000}" for number in range(15)]
    message = "\n".join(["gunicorn ended by itself; its log ends with:", *log_lines])

    with pytest.raises(click.ClickException) as raised:
        cli.fail(message)

    assert raised.value.message == message
