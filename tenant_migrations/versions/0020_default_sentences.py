"""Remove stored sentences that repeat the English defaults.

A client that saved the settings it had read stored them. Without them the defaults are spoken in
the language of the profile. It is in its own revision: the code needs the new column, and runs on
the revision before its head.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

REMOVE_DEFAULTS = """
UPDATE settings SET sentences = own.sentences
FROM (
    SELECT s.id, coalesce(jsonb_object_agg(e.key, e.value) FILTER (WHERE d.key IS NULL), '{}')
        AS sentences
    FROM settings s CROSS JOIN LATERAL jsonb_each_text(s.sentences) e
    LEFT JOIN (VALUES
        ('over_limit',
         'All our lines are busy at the moment. Please call again in a few minutes.'),
        ('suspended', 'This number is not available at the moment. Goodbye.'),
        ('closed', 'We are closed at the moment. Please call again later. Goodbye.'),
        ('fallback', 'I am sorry, something went wrong on our side. Please call again later.'
         ' Goodbye.')
    ) d (key, text) ON d.key = e.key AND d.text = e.value
    GROUP BY s.id
) own
WHERE own.id = settings.id AND own.sentences <> settings.sentences
"""


def upgrade() -> None:
    op.execute(REMOVE_DEFAULTS)
