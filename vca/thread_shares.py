"""How the threads of a web process are divided: some work, and the others wait.

The README's section "Threads of a web process" has a table of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ThreadShares:
    """The threads of one web process, by what they do."""

    working: int
    reserved: int  # of `working`: for carriers and monitoring only
    rejections: int
    calling_out: int
    calling_out_per_tenant: int

    @property
    def total(self) -> int:
        """All threads of the process."""
        return self._without_slow_clients + self.slow_bodies + 2 * self.slow_clients

    @property
    def ordinary(self) -> int:
        """How many threads may work on requests that are not a carrier's and not monitoring.

        This includes delayed rejections.
        """
        return self.working - self.reserved + self.rejections

    @property
    def slow_bodies(self) -> int:
        """How many threads may wait for slow bodies of requests with a key.

        Together with those of carriers it is at most a quarter of the threads.
        """
        return max(2, self._without_slow_clients // 6)

    @property
    def slow_clients(self) -> int:
        """How many threads may wait for slow bodies of carriers, and as many for slow readers."""
        return max(1, self._without_slow_clients // 12)

    @property
    def _without_slow_clients(self) -> int:
        return self.working + self.rejections + self.calling_out

    def errors(self) -> list[str]:
        """Return the invalid combinations, in the words of the settings."""
        problems = []
        if self.reserved >= self.working:
            problems.append(
                f"RESERVED_THREADS is {self.reserved}, but WEB_THREADS is only {self.working}: "
                "requests with an API key would have no thread"
            )
        if self.calling_out_per_tenant > self.calling_out:
            problems.append(
                f"CALLING_OUT_PER_TENANT is {self.calling_out_per_tenant}, but "
                f"CALLING_OUT_THREADS, which limits all tenants together, is only "
                f"{self.calling_out}"
            )
        return problems
