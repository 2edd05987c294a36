"""Create the platform's webhooks, which receive the events of all tenants, and their deliveries.

A tenant's transaction adds deliveries with one function, and cannot read them.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
CREATE TABLE public.webhooks (
    id uuid NOT NULL,
    url text NOT NULL,
    description text,
    events jsonb NOT NULL,
    is_active boolean NOT NULL,
    disabled_reason text,
    disabled_at timestamptz,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    paused_until timestamptz,
    busy_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_disabled_reason_check CHECK (disabled_reason IN ('gone', 'failing'))
);

CREATE TABLE public.webhook_deliveries (
    id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    tries integer NOT NULL DEFAULT 0,
    attempts jsonb NOT NULL DEFAULT '[]',
    next_attempt_at timestamptz,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_webhook_id_event_id_key UNIQUE (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_webhook_id_fkey
        FOREIGN KEY (webhook_id) REFERENCES public.webhooks (id) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'delivered', 'failed'))
);
CREATE INDEX webhook_deliveries_webhook_id_next_attempt_at_created_at_idx
    ON public.webhook_deliveries (webhook_id, next_attempt_at, created_at)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_webhook_id_created_at_id_idx
    ON public.webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_created_at_idx ON public.webhook_deliveries (created_at);
"""

# The event belongs to the acting tenant: the payload's `tenant_id` is set here, whatever was
# passed. Returns the number of webhooks that receive it.
TELL_OPERATORS = """
CREATE FUNCTION public.tell_operators(
    p_event uuid, p_type text, p_payload jsonb, p_at timestamptz, p_expires_at timestamptz
)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := public.acting_tenant();
    v_webhook uuid;
    v_told bigint := 0;
BEGIN
    FOR v_webhook IN
        INSERT INTO public.webhook_deliveries
            (id, webhook_id, event_id, type, payload, next_attempt_at, created_at, expires_at)
        SELECT gen_random_uuid(), w.id, p_event, p_type,
               jsonb_set(p_payload, '{data,tenant_id}', to_jsonb(v_tenant)), p_at, p_at,
               p_expires_at
        FROM public.webhooks w
        WHERE w.is_active AND (w.events = '[]' OR w.events ? p_type)
        ON CONFLICT (webhook_id, event_id) DO NOTHING
        RETURNING webhook_id
    LOOP
        v_told := v_told + 1;
        PERFORM jobs.enqueue_for_platform(
            'webhooks.deliver_to_operator', jsonb_build_object('webhook_id', v_webhook)
        );
    END LOOP;
    RETURN v_told;
END $$;
"""

# Enqueues a platform job from a tenant's transaction; only other functions here may call it.
ENQUEUE_FOR_PLATFORM = """
CREATE FUNCTION jobs.enqueue_for_platform(p_task text, p_args jsonb)
RETURNS bigint
LANGUAGE sql
SET search_path = jobs, pg_temp
AS $$
    SELECT (procrastinate_defer_jobs_v1(ARRAY[
        ROW('default', p_task, 0, NULL, NULL, p_args, NULL)
    ]::procrastinate_job_to_defer_v1[]))[1];
$$;
"""


def upgrade() -> None:
    for statement in (TABLES, ENQUEUE_FOR_PLATFORM, TELL_OPERATORS):
        op.execute(statement)
