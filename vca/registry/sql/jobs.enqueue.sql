-- grants: tenant
--
-- Enqueue a job in a lane. A tenant's role enqueues jobs for that tenant only. Returns null if the
-- lock is taken: no second job is enqueued. Each tenant has its own locks.
CREATE OR REPLACE FUNCTION jobs.enqueue(
    p_lane text, p_task text, p_args jsonb, p_run_at timestamptz, p_lock text
)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = jobs, pg_temp
AS $$
DECLARE
    v_tenant uuid;
BEGIN
    IF coalesce(current_setting('vca.tenant_id', true), '') <> ''
            OR current_setting('role') NOT IN ('none', session_user) THEN
        v_tenant := public.acting_tenant();
        p_args := p_args || jsonb_build_object('tenant_id', v_tenant);
    END IF;
    IF p_lock IS NOT NULL THEN
        p_lock := concat(v_tenant, ':', p_lock);
        PERFORM FROM procrastinate_jobs j WHERE j.queueing_lock = p_lock AND j.status = 'todo';
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW(p_lane, p_task, 0, NULL, p_lock, p_args, p_run_at)
    ]::procrastinate_job_to_defer_v1[]))[1];
EXCEPTION WHEN unique_violation THEN
    RETURN NULL;
END $$;
