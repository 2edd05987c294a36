"""Rules for the files of `registry/sql`: header, name, pinned search path, and their signatures.

`sql_signatures.txt` lists the signatures of all functions. The processes of two releases call a
function, so a signature that is on the list stays for one more release.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import vca
from vca.registry import sql_functions
from vca.registry.sql_functions import DroppedFunction, InvalidFunctionFile, SqlFunction

SIGNATURE_LINES = Path(__file__).with_name("sql_signatures.txt").read_text().splitlines()
FILES = sorted(sql_functions.FOLDER.glob("*.sql"))
SEARCH_PATHS = {"public": "pg_catalog, pg_temp", "jobs": "jobs, pg_temp"}

SOURCE = """-- grants: tenant
--
-- Return one.
CREATE OR REPLACE FUNCTION public.one(p_name text, OUT n integer)
RETURNS integer
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT 1 $$;
"""


def _declaration(function: SqlFunction) -> str:
    """Return what CREATE OR REPLACE cannot change: arguments with their names, and the result."""
    [result] = re.findall(r"\n(RETURNS .*?)\nLANGUAGE", function.source, re.DOTALL)
    return f"{function.signature} {' '.join(result.split())}"


def _broken_contracts(
    signature_lines: Iterable[str],
    functions: Iterable[SqlFunction],
    dropped_functions: Iterable[DroppedFunction],
    *,
    release: str,
) -> Iterator[str]:
    """Yield a sentence for each change that a process of the release before would notice."""
    by_signature = {function.signature: function for function in functions}
    drops = {function.signature: function for function in dropped_functions}
    for line in signature_lines:
        signature = line.partition(" RETURNS ")[0]
        function, drop = by_signature.get(signature), drops.get(signature)
        if drop is not None and sql_functions.is_dropped(drop, release=release):
            if function is not None:
                yield f"{signature} is dropped: delete its file and its line of the list"
        elif function is None:
            yield f"{signature} is called by the release before: keep its file, see dropped.txt"
        elif _declaration(function) != line:
            yield f"{signature} has another result: give the new function another name"
    for signature in by_signature.keys() - {
        line.partition(" RETURNS ")[0] for line in signature_lines
    }:
        yield f"{signature} is new: add it to sql_signatures.txt"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_the_name_of_its_function_and_pins_the_search_path(path: Path) -> None:
    function = sql_functions.parse_function(path.read_text())
    schema = function.name.partition(".")[0]

    assert path.stem == function.name or path.stem.startswith(f"{function.name}.")
    assert f"\nSET search_path = {SEARCH_PATHS[schema]}\n" in function.source
    assert max(map(len, function.source.splitlines())) <= 100


def test_the_folder_has_functions_and_the_list_of_dropped_ones_only() -> None:
    assert set(sql_functions.FOLDER.iterdir()) == {*FILES, sql_functions.DROPPED_FILE}
    assert len(FILES) == len({function.signature for function in sql_functions.load_functions()})
    assert len(FILES) > 30


@pytest.mark.parametrize(
    "source",
    [
        SOURCE.replace("-- grants: tenant\n--\n", ""),
        SOURCE.replace("tenant", "anyone"),
        SOURCE.replace("-- Return one.\n", ""),
        SOURCE.replace("OR REPLACE ", ""),
        SOURCE.replace("public.one", "one"),
        SOURCE.replace("p_name text", "p_name numeric(10, 2)"),
        SOURCE.replace("p_name text", "p_name text DEFAULT NULL"),
    ],
)
def test_a_function_without_header_or_in_another_form_is_rejected(source: str) -> None:
    sql_functions.parse_function(SOURCE)

    with pytest.raises(InvalidFunctionFile):
        sql_functions.parse_function(source)


def test_a_signature_has_the_modes_and_names_of_its_arguments() -> None:
    assert sql_functions.parse_function(SOURCE).signature == (
        "public.one(p_name text, OUT n integer)"
    )


# What Citus rejects: only constants and variables are allowed there.
_TIME = r"\b(now|clock_timestamp)\(\)"
REJECTED_BY_CITUS = {
    "in an update after a conflict": rf"ON CONFLICT[^;]*{_TIME}",
    "in CASE": rf"\bCASE\b((?!\bEND\b)[^;])*{_TIME}",
    "in COALESCE": rf"(?i:coalesce)\([^;()]*{_TIME}",
}
VIOLATIONS = {
    "in an update after a conflict": "ON CONFLICT (id) DO UPDATE SET updated_at = now()",
    "in CASE": "SELECT CASE WHEN true THEN clock_timestamp() END",
    "in COALESCE": "SELECT coalesce(last_used_at, now())",
}


@pytest.mark.parametrize("place", REJECTED_BY_CITUS)
def test_the_time_is_a_variable_where_citus_rejects_a_function(place: str) -> None:
    pattern = re.compile(REJECTED_BY_CITUS[place])
    assert pattern.search(VIOLATIONS[place])

    sources = {function.name: function.source for function in sql_functions.load_functions()}
    assert [name for name, source in sources.items() if pattern.search(source)] == []


# --- Signatures ---------------------------------------------------------------------------------


def test_every_listed_signature_stays_for_one_more_release() -> None:
    functions, dropped_functions = sql_functions.load_functions(), sql_functions.load_dropped()

    assert (
        list(
            _broken_contracts(
                SIGNATURE_LINES, functions, dropped_functions, release=vca.__version__
            )
        )
        == []
    )
    assert sorted(SIGNATURE_LINES) == SIGNATURE_LINES


def test_a_changed_signature_without_its_old_file_is_detected() -> None:
    old = sql_functions.parse_function(SOURCE)
    signature_lines = [_declaration(old)]
    new = sql_functions.parse_function(SOURCE.replace("p_name text", "p_name uuid"))
    renamed_argument = sql_functions.parse_function(SOURCE.replace("p_name", "p_title"))
    other_result = sql_functions.parse_function(
        SOURCE.replace("RETURNS integer", "RETURNS SETOF integer")
    )
    scheduled = [DroppedFunction(old.signature, "0.3.0")]

    def broken(functions: list[SqlFunction], *, release: str = "0.2.0") -> list[str]:
        return list(_broken_contracts(signature_lines, functions, scheduled, release=release))

    assert broken([old]) == []
    assert broken([]) == [
        f"{old.signature} is called by the release before: keep its file, see dropped.txt"
    ]
    assert len(broken([new])) == 2
    assert len(broken([renamed_argument])) == 2
    assert broken([other_result]) == [
        f"{old.signature} has another result: give the new function another name"
    ]
    assert broken([], release="0.3.0") == broken([], release="1.0.0") == []
    assert broken([old], release="0.10.0") == [
        f"{old.signature} is dropped: delete its file and its line of the list"
    ]


@pytest.mark.parametrize("line", ["public.one(p_name text)", "public.one 0.2.0", "one(text) soon"])
def test_a_line_of_dropped_functions_needs_a_signature_and_a_release(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped_file = tmp_path / "dropped.txt"
    monkeypatch.setattr(sql_functions, "DROPPED_FILE", dropped_file)
    dropped_file.write_text("# comment\npublic.one(p_name text, OUT n integer) 0.2.0\n")
    assert sql_functions.load_dropped() == [
        DroppedFunction("public.one(p_name text, OUT n integer)", "0.2.0")
    ]

    dropped_file.write_text(f"{line}\n")
    with pytest.raises(InvalidFunctionFile):
        sql_functions.load_dropped()
