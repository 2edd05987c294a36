"""The SQL of the hand-written app: the statements of VCA, with the same columns and ordering."""

SENTENCES = {
    "suspended": "This number is not available at the moment. Goodbye.",
    "closed": "We are closed at the moment. Please call again later. Goodbye.",
    "fallback": "I am sorry, something went wrong on our side. Please call again later. Goodbye.",
}

SELECT_KEY = """
SELECT k.id, k.prefix, k.name, k.tenant_id, k.key_hash, k.scopes, k.expires_at, k.created_at,
       k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS valid,
       coalesce(k.last_used_at < now() - interval '10 minutes', true) AS stale,
       own.status AS own_status, asked.status AS asked_status,
       asked.schema_revision AS asked_revision
FROM public.api_keys k
LEFT JOIN public.tenants own ON own.id = k.tenant_id
LEFT JOIN public.tenants asked ON asked.id = %(asked)s
WHERE k.prefix = %(prefix)s
"""
RECORD_KEY_USE = """
UPDATE public.api_keys SET last_used_at = now(), key_hash = %(hash)s
WHERE id = %(id)s
  AND (key_hash <> %(hash)s OR coalesce(last_used_at < now() - interval '10 minutes', true))
"""
LIST_NUMBERS = """
SELECT id, did_number, provider_type, label, is_active, mode, forward_to, ai_profile_id,
       hours, fallback_number, registration_status, registration_code, registration_detail,
       registration_checked_at, registration_next_attempt_at, registration_round,
       created_at, updated_at, tenant_id, decision_url, telephony_account_id, previous_carrier
FROM phone_numbers ORDER BY created_at ASC, id ASC LIMIT %s
"""
FIND_NUMBER_OWNER = """
SELECT d.tenant_id, t.status, d.phone_number_id, d.state, d.rests_until, t.schema_revision,
       t.plan
FROM public.dids d JOIN public.tenants t ON t.id = d.tenant_id
WHERE d.did_number = %s
"""
SELECT_ROUTING = """
SELECT settings.sentences, phone_numbers.id, phone_numbers.is_active, phone_numbers.mode,
       phone_numbers.forward_to, phone_numbers.ai_profile_id, ai_profiles.id,
       ai_profiles.version, ai_profiles.name, ai_profiles.role, ai_profiles.system_prompt,
       ai_profiles.greeting, ai_profiles.language, ai_profiles.voice, ai_profiles.silence_seconds,
       coalesce(phone_numbers.hours, settings.hours), settings.limits, settings.time_zone,
       settings.variables, phone_numbers.fallback_number, ai_profiles.recording,
       ai_profiles.consent_sentence, (
           SELECT calls.id FROM calls
           WHERE calls.provider_type = 'fake' AND calls.provider_call_id = %s
       )
FROM settings
LEFT JOIN phone_numbers ON phone_numbers.id = %s
LEFT JOIN ai_profiles ON ai_profiles.id = phone_numbers.ai_profile_id
    OR phone_numbers.ai_profile_id IS NULL AND ai_profiles.is_default
FOR NO KEY UPDATE OF settings
"""
COUNT_LIVE_CALLS = """
SELECT count(*) FROM calls
WHERE status IN ('queued', 'ringing', 'in_progress', 'transferring') AND NOT simulated
"""
ENQUEUE_SILENCE_CHECK = "SELECT jobs.enqueue('calls', 'calls.check', CAST(%s AS jsonb), %s, %s)"
# The webhook events for the tenant and the platform, and the jobs that deliver them.
_EMIT_EVENTS = """
WITH happened AS (
    SELECT e.id, s.tenant_id, e.type, e.simulated, e.at,
           jsonb_build_object('tenant_id', s.tenant_id, 'simulated', e.simulated) || e.data AS data
    FROM (SELECT current_setting('vca.tenant_id')::uuid AS tenant_id) s,
        jsonb_to_recordset(%(told)s)
        AS e (id uuid, type text, simulated boolean, data jsonb, at text)
), told AS (
    INSERT INTO events (id, tenant_id, type, simulated, data, created_at)
    SELECT id, tenant_id, type, simulated, data, at::timestamptz FROM happened
    ON CONFLICT (id) DO NOTHING
    RETURNING id, created_at
), payloads AS (
    SELECT h.id, h.tenant_id, h.type, t.created_at,
           jsonb_build_object('type', h.type, 'timestamp', h.at, 'data', h.data) AS payload
    FROM happened h JOIN told t USING (id)
), due AS (
    INSERT INTO webhook_deliveries (
        id, tenant_id, webhook_id, event_id, type, payload, next_attempt_at, created_at, expires_at
    )
    SELECT gen_random_uuid(), p.tenant_id, w.id, p.id, p.type, p.payload, p.created_at,
           p.created_at, %(told_expires_at)s
    FROM payloads p JOIN webhooks w ON w.is_active AND (w.events = '[]' OR w.events ? p.type)
    RETURNING webhook_id
)
SELECT jobs.enqueue('deliveries', 'webhooks.deliver',
    jsonb_build_object('webhook_id', d.webhook_id), NULL, NULL)
FROM (SELECT DISTINCT webhook_id FROM due) d
UNION ALL
SELECT public.tell_operators(p.id, p.type, p.payload, p.created_at)
FROM payloads p
UNION ALL
SELECT jobs.enqueue('batch', 'webhooks.forget', '{}', %(told_forget_at)s, NULL)
WHERE NOT EXISTS (SELECT FROM events WHERE created_at > %(told_a_day_ago)s)
"""
# The webhook events, the call, its first events and the greeting in one round trip.
INSERT_CALL = (
    f"{_EMIT_EVENTS};"
    + """
WITH ringing AS (
    INSERT INTO calls (
        id, tenant_id, phone_number_id, ai_profile_id, ai_profile_version, direction, status,
        end_reason, end_detail, caller_number, caller_id, called_number, provider_type,
        provider_call_id, simulated, started_at, answered_at, ended_at, route,
        call_metadata
    ) VALUES (
        %(id)s, current_setting('vca.tenant_id')::uuid, %(phone_number_id)s, %(ai_profile_id)s,
        %(ai_profile_version)s, 'inbound', %(status)s, %(end_reason)s, NULL, %(caller_number)s,
        %(caller_id)s, %(called_number)s, 'fake', %(provider_call_id)s, false, %(started_at)s,
        %(answered_at)s, %(ended_at)s, %(route)s, '{}'
    )
    ON CONFLICT (provider_type, provider_call_id) DO NOTHING
    RETURNING id, tenant_id
), happened AS (
    INSERT INTO call_events (
        id, tenant_id, call_id, event_type, event_key, timestamp, position, details
    )
    SELECT e.id, r.tenant_id, r.id, e.event_type, e.event_key, e.timestamp, e.position, e.details
    FROM ringing r, jsonb_to_recordset(%(events)s) AS e (
        id uuid, event_type text, event_key text, "timestamp" timestamptz, "position" integer,
        details jsonb
    )
), said AS (
    INSERT INTO turns (call_id, sequence, tenant_id, speaker, text, started_at, latency_ms)
    SELECT r.id, 1, r.tenant_id, 'agent', %(greeting)s, %(started_at)s, '{}'
    FROM ringing r WHERE %(greeting)s <> ''
)
SELECT id FROM ringing
"""
)
SELECT_EXISTING_CALL = """
SELECT calls.id, turns.text
FROM calls LEFT JOIN turns ON turns.call_id = calls.id AND turns.sequence = 1
WHERE calls.provider_type = 'fake' AND calls.provider_call_id = %s
"""


def open_tenant_sql(tenant_id: str, tenant_hex: str, role_prefix: str) -> str:
    """Return BEGIN, search path, tenant id, role and schema identity check as one string."""
    return (
        f'BEGIN; SET LOCAL search_path TO "t_{tenant_hex}"; '
        f"SET LOCAL vca.tenant_id = '{tenant_id}'; "
        f'SET LOCAL ROLE "{role_prefix}t_{tenant_hex}"; '
        f"SELECT '{tenant_id}'::tenant_identity"
    )
