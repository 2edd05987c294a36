"""The migration that removes stored sentences that repeat the English defaults."""

import runpy

from sqlalchemy import text

from tests.support import admin_db
from tests.support.ast_index import ROOT
from tests.support.factories import Tenant
from vca.conversation.localised_phrases import PHRASES
from vca.kit import json
from vca.tenant.settings.phrases import DEFAULT_SENTENCES

[PATH] = (ROOT / "tenant_migrations" / "versions").glob("*_default_sentences.py")


def _migrate(tenant: Tenant, sentences: dict[str, str]) -> object:
    """Store the sentences, run the migration's statement, and return what is stored then."""
    with admin_db.tenant_session(tenant.ref) as session:
        session.execute(
            text("UPDATE settings SET sentences = :sentences"),
            {"sentences": json.dumps(sentences).decode()},
        )
        session.execute(text(runpy.run_path(str(PATH))["REMOVE_DEFAULTS"]))
        return session.scalar(text("SELECT sentences FROM settings"))


def test_defaults_are_removed_and_own_sentences_stay(acme: Tenant) -> None:
    own_sentences = {"closed": "Back at nine."}

    assert _migrate(acme, {**DEFAULT_SENTENCES, **own_sentences}) == own_sentences
    assert _migrate(acme, dict(DEFAULT_SENTENCES)) == {}
    assert _migrate(acme, own_sentences) == own_sentences
    assert _migrate(acme, {}) == {}


def test_a_default_under_another_name_is_a_sentence_of_the_tenant(acme: Tenant) -> None:
    own_sentences = {"closed": PHRASES["fallback"]}

    assert _migrate(acme, own_sentences) == own_sentences
