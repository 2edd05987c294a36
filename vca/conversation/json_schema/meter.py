"""The budget of work that one use of a tenant's schema may take."""

MAX_CHECK_UNITS = 30_000
"""For the check of a schema of up to 20 kB when it is saved."""
MAX_APPLY_UNITS = 50_000
"""For everything that one answer of a model leads to."""


class UnusableSchema(Exception):
    """The schema is invalid, or applying it takes too much work.

    `detail` is one sentence for its author; `path` are the steps from the root to the invalid part.
    """

    def __init__(self, detail: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path


class Meter:
    """Counts work in units of about a microsecond of CPU time, up to a budget."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.remaining = budget

    def pay(self, units: int) -> None:
        """Take units from the budget. Raises UnusableSchema if too few remain."""
        self.remaining -= units
        if self.remaining < 0:
            raise UnusableSchema("The schema takes too much work to apply.")
