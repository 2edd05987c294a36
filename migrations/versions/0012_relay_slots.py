"""Create the concurrency slots of voice WebSockets, for all processes."""

from alembic import op

revision = "0012"
down_revision = "0011"

# Half of each page is left free: a renewal stays in its page and changes no index.
TABLE = """
CREATE TABLE public.relay_slots (
    id uuid NOT NULL,
    opened boolean DEFAULT false NOT NULL,
    ends_at timestamptz NOT NULL,
    CONSTRAINT relay_slots_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);
"""

# Acquiring a slot deletes the expired ones and then counts. The transactions take turns, so that
# only one of two gets the last slot. A slot that was lost with the server is rejected and its
# caller is served over HTTP, so no commit waits for the disk.
TAKE = """
CREATE FUNCTION public.take_relay_slot(p_id uuid, p_most integer, p_wait interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtext('vca.relay_slots'));
    DELETE FROM public.relay_slots s WHERE s.ends_at <= clock_timestamp();
    IF (SELECT count(*) FROM public.relay_slots) >= p_most THEN
        RETURN false;
    END IF;
    INSERT INTO public.relay_slots (id, ends_at) VALUES (p_id, clock_timestamp() + p_wait);
    RETURN true;
END $$;
"""

# A slot is opened once, and renewed only after that; an expired slot can do neither.
HOLD = """
CREATE FUNCTION public.hold_relay_slot(p_id uuid, p_opens boolean, p_lease interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE public.relay_slots s SET opened = true, ends_at = clock_timestamp() + p_lease
    WHERE s.id = p_id AND s.opened <> p_opens AND s.ends_at > clock_timestamp();
    RETURN FOUND;
END $$;
"""

FREE = """
CREATE FUNCTION public.free_relay_slot(p_id uuid)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM public.relay_slots s WHERE s.id = p_id;
    RETURN FOUND;
END $$;
"""


def upgrade() -> None:
    for statement in (TABLE, TAKE, HOLD, FREE):
        op.execute(statement)
