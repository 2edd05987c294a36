-- grants: worker
--
-- Take the next job of a lane. Tenants take turns, in the order of their ids; one with p_cap
-- running jobs in the lane has no turn. Jobs of the platform count as those of one tenant. The jobs
-- of a dead worker do not count once another worker has deleted it: the job that rescues them needs
-- a slot itself.
--
-- The lock makes the cap exact: a later statement sees what the holder before has taken. Jobs
-- become ready in batches, so that a take never reads the jobs that are due later.
--
-- Statistics are often old for a queue, and a plan that reads or sorts all jobs of a lane would
-- take seconds. With the settings each query has one plan: it reads its index in the order that it
-- needs.
CREATE OR REPLACE FUNCTION jobs.take(p_lane text, p_worker bigint, p_cap integer)
RETURNS jobs.procrastinate_jobs
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
    v_job procrastinate_jobs;
    v_full text[];
    v_last text;
    v_after text;
    v_before text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('vca.lanes'), hashtext(p_lane));
    IF p_lane = 'batch' THEN
        PERFORM adopt(jsonb_build_object(), 50);
    END IF;
    UPDATE procrastinate_jobs SET due_at = scheduled_at, scheduled_at = NULL
    WHERE id = ANY (ARRAY(
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.queue_name = p_lane AND j.status = 'todo' AND j.scheduled_at <= now()
        ORDER BY j.scheduled_at LIMIT 50 FOR UPDATE SKIP LOCKED
    ));
    v_full := ARRAY(
        SELECT coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" FROM procrastinate_jobs j
        WHERE j.queue_name = p_lane AND j.status = 'doing' AND j.worker_id IS NOT NULL
        GROUP BY 1 HAVING count(*) >= p_cap
    );
    v_last := coalesce((SELECT l.last_tenant FROM lanes l WHERE l.name = p_lane), '');
    <<search>>
    FOREACH v_after IN ARRAY ARRAY[v_last, ''] LOOP
        LOOP
            -- Up to the next tenant without a turn; '~' is greater than every tenant.
            v_before := coalesce(
                (SELECT min(f COLLATE "C") FROM unnest(v_full) f WHERE f COLLATE "C" > v_after),
                '~'
            );
            SELECT j.* INTO v_job FROM procrastinate_jobs j
            WHERE j.queue_name = p_lane AND j.status = 'todo' AND j.scheduled_at IS NULL
              AND coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" > v_after
              AND coalesce(j.args->>'tenant_id', 'platform') COLLATE "C" < v_before
              AND (j.lock IS NULL OR NOT EXISTS (
                  SELECT FROM procrastinate_jobs o
                  WHERE o.lock = j.lock AND (o.status = 'doing' OR (
                      o.status = 'todo' AND (o.priority, -o.id) > (j.priority, -j.id)))))
            ORDER BY coalesce(j.args->>'tenant_id', 'platform') COLLATE "C", j.priority DESC, j.id
            LIMIT 1
            FOR UPDATE OF j SKIP LOCKED;
            EXIT search WHEN FOUND;
            EXIT WHEN v_before = '~';
            v_after := v_before;
        END LOOP;
    END LOOP;
    IF v_job.id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO lanes AS l (name, last_tenant)
    VALUES (p_lane, coalesce(v_job.args->>'tenant_id', 'platform'))
    ON CONFLICT (name) DO UPDATE SET last_tenant = excluded.last_tenant;
    UPDATE procrastinate_jobs j SET status = 'doing', worker_id = p_worker
    WHERE j.id = v_job.id RETURNING j.* INTO v_job;
    RETURN v_job;
END $$;
