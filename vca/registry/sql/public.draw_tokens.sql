-- grants: platform
--
-- Take up to p_wanted tokens out of each bucket, which holds p_bursts and gains p_rates per second.
-- The clock is read after the row is locked. A time that no call can have written comes from a
-- clock that was set back or from a lower limit: the bucket starts anew.
--
-- A crash of the server only loses tokens, so no commit waits for the disk.
CREATE OR REPLACE FUNCTION public.draw_tokens(
    p_ids uuid[], p_rates double precision[], p_bursts integer[], p_wanted integer[],
    OUT granted integer[], OUT remaining double precision[]
)
RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_full_at timestamptz;
    v_owed_s double precision;
    v_left double precision;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR i IN 1 .. cardinality(p_ids) LOOP
        LOOP
            SELECT b.full_at INTO v_full_at FROM public.rate_buckets b
            WHERE b.id = p_ids[i] FOR NO KEY UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO public.rate_buckets (id, full_at)
            VALUES (p_ids[i], clock_timestamp()) ON CONFLICT DO NOTHING;
        END LOOP;
        v_owed_s := extract(epoch FROM v_full_at - clock_timestamp());
        IF v_owed_s NOT BETWEEN 0 AND p_bursts[i] / p_rates[i] + 5 THEN
            v_owed_s := 0;
            v_full_at := clock_timestamp();
        END IF;
        v_left := p_bursts[i] - p_rates[i] * v_owed_s;
        granted[i] := greatest(0, least(p_wanted[i], floor(v_left)));
        remaining[i] := v_left - granted[i];
        UPDATE public.rate_buckets b
        SET full_at = v_full_at + make_interval(secs => granted[i] / p_rates[i])
        WHERE b.id = p_ids[i];
    END LOOP;
END $$;
