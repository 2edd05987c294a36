"""The interpreter that applies a schema to a value and pays for each step from a meter."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vca.conversation.json_schema.definition import SchemaDefinition
from vca.conversation.json_schema.meter import Meter, UnusableSchema

MAX_DEPTH = 100
"""How many schemas may be applied inside each other. Values have up to 32 levels."""
MAX_PROBLEM_CHARS = 300
_MAX_SUBJECT_CHARS = 120
_CHARS_PER_UNIT = 1_000


class Problem:
    """Why a value does not fit. The text is composed only when it is needed."""

    def __init__(self, template: str, *subjects: Any) -> None:
        self._template = template
        self._subjects = subjects
        self.reversed_path: list[str] = []

    def describe(self) -> str:
        """Return the place and the violation, in words that a model understands."""
        path = "/".join(reversed(self.reversed_path))
        text = self._template.format(*map(_quote, self._subjects))
        return f"{path or 'it'}: {text}"[:MAX_PROBLEM_CHARS]


def _quote(subject: Any) -> str:
    text = repr(subject)
    return text if len(text) <= _MAX_SUBJECT_CHARS else f"{text[:_MAX_SUBJECT_CHARS]}…"


class Covered:
    """The properties and items of one value that a schema has said something about."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.indexes: set[int] = set()


@dataclass(slots=True)
class Frame:
    """The application of one schema to one value; `covered` is None if no keyword needs it."""

    run: "Application"
    schema: Mapping[str, Any]
    value: Any
    covered: Covered | None

    def apply(self, schema: Any) -> Problem | None:
        """Apply another schema to the same value."""
        return self.run.apply(schema, self.value, self.covered)

    def apply_to_member(self, schema: Any, member: Any, step: str | int) -> Problem | None:
        """Apply a schema to a property or an item of the value."""
        problem = self.run.apply(schema, member)
        if problem is not None:
            problem.reversed_path.append(str(step))
        return problem


KeywordCheck: TypeAlias = Callable[[Frame, Any], Problem | None]
KeywordChecks: TypeAlias = Mapping[str, tuple[frozenset[type], KeywordCheck]]
"""For each keyword, the types of values that it is about, and its check."""


class Application:
    """One application of a schema, and of the schemas inside it, to a value.

    `phases` are the keywords that are checked first, and those that judge what the others left.
    """

    def __init__(self, definition: SchemaDefinition, meter: Meter, *phases: KeywordChecks) -> None:
        self.definition = definition
        self.pay = meter.pay
        self._phases = phases
        self._scope: list[str] = []
        self._value_sets: dict[int, frozenset[Hashable]] = {}

    def apply(self, schema: Any, value: Any, covered: Covered | None = None) -> Problem | None:
        """Return the first problem of the value, or None.

        Without a problem, what the schema has covered of the value is added to `covered`. Raises
        UnusableSchema.
        """
        if schema is True or schema is False:
            self.pay(1)
            return None if schema else Problem("no value is allowed here, but it is {}", value)
        self.pay(4 + len(schema))
        self._scope.append(self.definition.bases[id(schema)])
        if len(self._scope) > MAX_DEPTH:
            raise UnusableSchema("The schema refers to itself, or its references are too deep.")
        frame = Frame(self, schema, value, Covered() if self.definition.has_unevaluated else None)
        problem = self._check_keywords(frame)
        self._scope.pop()
        if problem is None and covered is not None and frame.covered is not None:
            self.pay(len(frame.covered.names) + len(frame.covered.indexes))
            covered.names |= frame.covered.names
            covered.indexes |= frame.covered.indexes
        return problem

    def _check_keywords(self, frame: Frame) -> Problem | None:
        value_type = type(frame.value)
        for checks in self._phases:
            for keyword, rule in frame.schema.items():
                types, check = checks.get(keyword, (frozenset(), None))
                if check is not None and value_type in types:
                    self.pay(1)
                    problem = check(frame, rule)
                    if problem is not None:
                        return problem
        return None

    def dynamic_target(self, schema: Mapping[str, Any]) -> Any:
        """Return what a `$dynamicRef` names: the anchor of the outermost document that has it."""
        target, name = self.definition.dynamic_references.get(id(schema), (None, ""))
        if isinstance(target, dict) and target.get("$dynamicAnchor") == name:
            self.pay(len(self._scope))
            for base in self._scope:
                if (base, name) in self.definition.dynamic_anchors:
                    return self.definition.dynamic_anchors[base, name]
        return target

    def hashable(self, value: Any) -> Hashable:
        """Return a value that equals another one exactly if JSON Schema says that they are equal.

        1 equals 1.0, but not true.
        """
        self.pay(2 if isinstance(value, dict | list) else 1)
        match value:
            case str():
                self.pay(len(value) // _CHARS_PER_UNIT)
            case bool():
                return ("boolean", value)
            case list():
                return ("array", *map(self.hashable, value))
            case dict():
                return frozenset((name, self.hashable(item)) for name, item in value.items())
        hashable_value: Hashable = value  # a text, a number or null
        return hashable_value

    def value_set(self, values: list[Any]) -> frozenset[Hashable]:
        """Return the values of an `enum` for look-ups; they are converted once."""
        if id(values) not in self._value_sets:
            self._value_sets[id(values)] = frozenset(map(self.hashable, values))
        return self._value_sets[id(values)]
