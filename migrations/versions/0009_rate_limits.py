"""How much of its limit each key, each tenant and each sender of failures has spent."""

from alembic import op

revision = "0009"
down_revision = "0006"

# A bucket is known by the time at which it will be full again: one that is full needs no row. Half
# of each page is left free, so that an update stays in its page and touches no index.
TABLE = """
CREATE TABLE public.rate_buckets (
    id uuid NOT NULL,
    full_at timestamptz NOT NULL,
    granted integer NOT NULL,
    CONSTRAINT rate_buckets_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);
"""

# Take up to p_wanted tokens out of each bucket, which holds p_bursts and gains p_rates a second.
# The clock is read when the row is held. A time that no draw can have written is of a clock that
# was set back, or of a limit that was lower: the bucket begins anew. What is lost with the server
# are tokens, so nobody waits for its disk.
DRAW_TOKENS = """
CREATE FUNCTION public.draw_tokens(
    p_ids uuid[], p_rates double precision[], p_bursts integer[], p_wanted integer[],
    OUT granted integer[], OUT remaining double precision[]
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_granted integer;
    v_remaining double precision;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR i IN 1 .. cardinality(p_ids) LOOP
        INSERT INTO public.rate_buckets AS b (id, full_at, granted)
        SELECT p_ids[i], clock_timestamp() + make_interval(secs => n.take / p_rates[i]), n.take
        FROM (SELECT least(p_wanted[i], p_bursts[i]) AS take) n
        ON CONFLICT (id) DO UPDATE SET (full_at, granted) = (
            SELECT n.begins + make_interval(secs => n.take / p_rates[i]), n.take
            FROM (
                SELECT o.begins, greatest(0, least(p_wanted[i], floor(
                    p_bursts[i] - p_rates[i] * extract(epoch FROM o.begins - o.at)
                )))::integer AS take
                FROM (
                    SELECT c.at, CASE WHEN b.full_at BETWEEN c.at AND c.at
                        + make_interval(secs => p_bursts[i] / p_rates[i] + 5)
                        THEN b.full_at ELSE c.at END AS begins
                    FROM (SELECT clock_timestamp() AS at) c
                ) o
            ) n
        )
        RETURNING b.granted,
            p_bursts[i] - p_rates[i] * extract(epoch FROM b.full_at - clock_timestamp())
        INTO v_granted, v_remaining;
        granted := granted || v_granted;
        remaining := remaining || v_remaining;
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(DRAW_TOKENS)
