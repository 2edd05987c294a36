-- grants: worker
--
-- Move due jobs of earlier releases from `default` into the lane of their task; an unknown task's
-- into `batch`. Returns their number. The settings are those of jobs.take.
CREATE OR REPLACE FUNCTION jobs.adopt(p_lanes jsonb, p_limit integer)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET enable_incremental_sort = off
SET enable_hashagg = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_adopted bigint;
BEGIN
    UPDATE procrastinate_jobs
    SET queue_name = coalesce(p_lanes->>task_name, 'batch'), scheduled_at = NULL,
        due_at = coalesce(scheduled_at, due_at)
    WHERE id = ANY (ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = 'default' AND j.status = 'todo' AND j.scheduled_at IS NULL
        ORDER BY coalesce(j.args->>'tenant_id', 'platform') COLLATE "C"
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) || ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = 'default' AND j.status = 'todo' AND j.scheduled_at <= now()
        ORDER BY j.scheduled_at
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_adopted = ROW_COUNT;
    RETURN v_adopted;
END $$;
