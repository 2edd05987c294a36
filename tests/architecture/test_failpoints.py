"""Failpoints: the chaos runs list each one, and the product uses each one in one place."""

import ast
import re

from tests.chaos.failpoints import FAILPOINTS
from tests.support.ast_index import source_modules

_DOTTED_NAME = re.compile(r"[a-z]+(\.[a-z]+){1,2}", re.ASCII)


def _used_failpoints() -> list[str]:
    return [
        str(argument.value if isinstance(argument, ast.Constant) else module.location_of(node))
        for module in source_modules()
        for function, node in module.calls()
        if function == "failpoints.kill_if_armed"
        for argument in node.args
    ]


def test_the_list_of_failpoints_is_complete_and_has_no_duplicates() -> None:
    assert sorted(_used_failpoints()) == sorted(FAILPOINTS)


def test_failpoints_have_dotted_names() -> None:
    for name in FAILPOINTS:
        assert _DOTTED_NAME.fullmatch(name), name
