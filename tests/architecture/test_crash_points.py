"""Crash points: each is listed, and so rehearsed; each stands in one place under a dotted name."""

import ast
import re

from tests.chaos.failpoints import FAILPOINTS
from tests.support.ast_index import source_modules

_NAME = re.compile(r"[a-z]+(\.[a-z]+){1,2}", re.ASCII)


def _passed() -> list[str]:
    return [
        argument.value if isinstance(argument, ast.Constant) else where.location_of(node)
        for where in source_modules()
        for called, node in where.calls()
        if called == "failpoints.kill_if_armed"
        for argument in node.args
    ]


def test_every_point_that_a_process_may_die_at_is_rehearsed_and_no_other_is_listed() -> None:
    assert sorted(_passed()) == sorted(FAILPOINTS)


def test_points_have_dotted_names() -> None:
    for name in FAILPOINTS:
        assert _NAME.fullmatch(name), name
