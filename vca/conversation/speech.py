"""What the agent says in one turn, as it comes to be said."""

from collections.abc import Iterable, Iterator

from vca.conversation import spoken


class Speech:
    """The clauses of one answer, together within `spoken.MAX_CHARS`."""

    def __init__(self) -> None:
        self._clauses = spoken.Clauses()
        self._said: list[str] = []
        self._left = spoken.MAX_CHARS
        self.answered = False
        """Whether a model's words are in it, and not only ours."""
        self.full = False

    @property
    def text(self) -> str:
        """All that was said."""
        return spoken.joined(self._said)

    def add(self, piece: str) -> Iterator[str]:
        """The clauses that can be said now that a model's piece is there."""
        yield from self._fitting(self._clauses.add(piece))

    def end(self, *, broken_off: bool) -> Iterator[str]:
        """The last clause; of an answer that broke off, only if it is whole."""
        yield from self._fitting(self._clauses.rest(broken_off=broken_off))

    def forget_the_rest(self) -> None:
        """Another model answers: what the first had not finished is not said."""
        self._clauses = spoken.Clauses()

    def interject(self, sentence: str) -> str:
        """A sentence of our own, to be said at once."""
        self._said.append(sentence)
        return sentence

    def _fitting(self, clauses: Iterable[str]) -> Iterator[str]:
        for clause in clauses:
            if self.full:
                return
            if len(clause) > self._left:
                self.full = True
                if self.answered:
                    return
                clause = next(spoken.bounded([clause]))
            self._left -= len(clause) + 1
            self.answered = True
            self._said.append(clause)
            yield clause
