"""Accept the unsigned states of calls that were live when this release started, for 15 minutes.

Every state, socket URL and callback URL of a call is signed as a whole from now on. Carriers still
return those which the previous release has given them. `unsigned_states_until` is set once in the
life of a database, when the first process of this release starts, so that the 15 minutes cannot be
started again. A new database has no such calls: there they are over when the row is inserted.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

COLUMN = """
ALTER TABLE public.deployment ADD COLUMN unsigned_states_until timestamptz;
ALTER TABLE public.deployment ALTER COLUMN unsigned_states_until SET DEFAULT now();
"""

ACCEPT = """
CREATE FUNCTION public.accept_unsigned_states()
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.deployment SET unsigned_states_until = clock_timestamp() + interval '15 minutes'
    WHERE unsigned_states_until IS NULL;
    RETURN coalesce(
        (SELECT d.unsigned_states_until > clock_timestamp() FROM public.deployment d), false);
END $$;
"""


def upgrade() -> None:
    for statement in (COLUMN, ACCEPT):
        op.execute(statement)
