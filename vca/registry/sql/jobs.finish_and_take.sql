-- grants: worker
--
-- Delete jobs that ended well, whatever became of them meanwhile, and take up to p_limit jobs of a
-- lane as `jobs.take` does, one after the other. Repeating it finishes nothing twice.
--
-- Statistics are often old for a queue. With the settings the jobs are found by their ids.
CREATE OR REPLACE FUNCTION jobs.finish_and_take(
    p_lane text, p_worker bigint, p_cap integer, p_finished bigint[], p_limit integer
)
RETURNS SETOF jobs.procrastinate_jobs
LANGUAGE plpgsql
SET search_path = jobs, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_job procrastinate_jobs;
BEGIN
    DELETE FROM procrastinate_jobs j
    WHERE j.id = ANY (p_finished) AND j.status IN ('todo', 'doing');
    FOR i IN 1..p_limit LOOP
        v_job := take(p_lane, p_worker, p_cap);
        EXIT WHEN v_job.id IS NULL;
        RETURN NEXT v_job;
    END LOOP;
END $$;
