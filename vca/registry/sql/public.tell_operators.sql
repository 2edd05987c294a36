-- grants: tenant
--
-- Add a delivery of an event to each of the platform's webhooks that receives its type. Returns
-- their number. The event belongs to the transaction's tenant: the payload's `tenant_id` is set
-- here, whatever was passed. A delivery expires after five days, counted from now at the latest.
CREATE OR REPLACE FUNCTION public.tell_operators(
    p_event uuid, p_type text, p_payload jsonb, p_at timestamptz
)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := public.acting_tenant();
    v_webhook uuid;
    v_told bigint := 0;
    v_expires_at timestamptz := least(p_at, now()) + interval '5 days';
BEGIN
    FOR v_webhook IN
        INSERT INTO public.webhook_deliveries
            (id, webhook_id, event_id, type, payload, next_attempt_at, created_at, expires_at)
        SELECT gen_random_uuid(), w.id, p_event, p_type,
               jsonb_set(p_payload, '{data,tenant_id}', to_jsonb(v_tenant)), p_at, p_at,
               v_expires_at
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
