"""Sentences that VCA says to callers come from the catalogues, in the language of the profile."""

import ast
from collections.abc import Iterator

from tests.support.ast_index import SourceModule, source_modules
from vca.conversation.localised_phrases import PHRASES

_CATALOGUE_MODULE = "vca/conversation/localised_phrases.py"
# Calls that speak a text, with the position of the text among their arguments.
_SPEAKING_CALLS = {"Say": 0, "SpokenChunk": 0, "Relay": 2}
# Functions with a tenant's own texts as their last argument.
_PHRASE_FUNCTIONS = {"phrase": 3, "closing_phrase": 3}
# Where nothing is known of the tenant: its database does not answer.
_WITHOUT_TENANT = {("vca/tenant/calls/carrier_webhooks/fallback.py", "phrase")}


def _calls(module: SourceModule) -> Iterator[tuple[ast.Call, str]]:
    for node in module.nodes():
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func).rpartition(".")[2]


def _has_words(node: ast.expr) -> bool:
    """Return whether the expression contains a literal text with letters."""
    return any(
        isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and any(map(str.isalpha, part.value))
        for part in ast.walk(node)
    )


def _product_modules() -> list[SourceModule]:
    return [
        module
        for module in source_modules()
        if module.path.startswith("vca/") and not module.path.startswith("vca/devtools/")
    ]


def test_no_spoken_text_is_a_literal() -> None:
    literals = [
        module.location_of(call)
        for module in _product_modules()
        for call, name in _calls(module)
        if name in _SPEAKING_CALLS
        and len(call.args) > _SPEAKING_CALLS[name]
        and isinstance(call.args[_SPEAKING_CALLS[name]], ast.Constant | ast.JoinedStr)
        and _has_words(call.args[_SPEAKING_CALLS[name]])
    ]

    assert literals == []


def test_no_sentence_of_the_catalogue_is_written_elsewhere() -> None:
    texts = set(PHRASES.values())
    copies = [
        module.location_of(node)
        for module in _product_modules()
        if module.path != _CATALOGUE_MODULE
        for node in module.nodes()
        if isinstance(node, ast.Constant) and node.value in texts
    ]

    assert copies == []


def test_every_spoken_phrase_can_be_the_tenants() -> None:
    without_overrides = [
        module.location_of(call)
        for module in _product_modules()
        if module.path != _CATALOGUE_MODULE
        for call, name in _calls(module)
        if name in _PHRASE_FUNCTIONS
        and ast.unparse(call.func).startswith("localised_phrases.")
        and len(call.args) < _PHRASE_FUNCTIONS[name]
        and (module.path, name) not in _WITHOUT_TENANT
    ]

    assert without_overrides == []
