-- grants: tenant
--
-- Erase events from the platform's deliveries: reduce pending deliveries to ids, and delete
-- finished ones. Returns the number of both.
CREATE OR REPLACE FUNCTION public.forget_told(p_events uuid[])
RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH told AS (
        SELECT d.id, d.status FROM public.webhook_deliveries d
        WHERE d.webhook_id IN (SELECT w.id FROM public.webhooks w)
          AND d.event_id = ANY (p_events)
          AND d.payload #>> '{data,tenant_id}' = public.acting_tenant()::text
    ), over AS (
        DELETE FROM public.webhook_deliveries d USING told t
        WHERE d.id = t.id AND t.status <> 'pending'
    ), waiting AS (
        UPDATE public.webhook_deliveries d
        SET attempts = '[]', payload = jsonb_set(d.payload, '{data}', (
            SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
            FROM jsonb_each(d.payload->'data') e
            WHERE e.key IN ('tenant_id', 'simulated', 'call_id', 'message_id', 'recording_id')
        ))
        FROM told t WHERE d.id = t.id AND t.status = 'pending'
    )
    SELECT count(*) FROM told;
$$;
