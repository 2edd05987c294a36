"""Make every cell of a table a test that can be run alone by its id."""

from collections.abc import Sequence

import pytest

from tests.generated.catalogue import Cell


def each_cell(cells: Sequence[Cell]) -> pytest.MarkDecorator:
    """Return a decorator that runs the test once for each cell, with the argument `cell`."""
    return pytest.mark.parametrize("cell", cells, ids=[cell.id for cell in cells])
