"""Create versioned plans, and each tenant's usage by month in one row.

The ledger is in the tenants' schemas. A transaction that writes to it locks the month's row, so
that included units, thresholds and sums are decided for one fact after the other.
"""

import json

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
CREATE TABLE public.plans (
    plan text NOT NULL,
    version integer NOT NULL,
    valid_from timestamptz NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plans_pkey PRIMARY KEY (plan, version),
    CONSTRAINT plans_plan_check CHECK (plan IN ('starter', 'growth', 'custom'))
);

CREATE TABLE public.usage_periods (
    period date NOT NULL,
    tenant_id uuid NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    kinds jsonb NOT NULL,
    told jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_periods_pkey PRIMARY KEY (period, tenant_id)
);
"""

# Prices are millionths of a cent for a number of units: 12 cents per minute of a call, and so on.
FIRST = {
    "starter": {
        "currency": "USD",
        "limits": {"concurrent_calls": 2},
        "included": {"call_seconds": 6_000},
        "prices": {
            "call_seconds": {"price": 12_000_000, "per": 60},
            "model_input_tokens": {"price": 100_000_000, "per": 1_000_000},
            "model_output_tokens": {"price": 400_000_000, "per": 1_000_000},
            "speech_characters": {"price": 2_000_000_000, "per": 1_000_000},
            "recording_byte_days": {"price": 3_000_000, "per": 30_000_000_000},
            "number_days": {"price": 5_000_000, "per": 1},
        },
    },
    "growth": {
        "currency": "USD",
        "limits": {"concurrent_calls": 20},
        "included": {"call_seconds": 60_000},
        "prices": {
            "call_seconds": {"price": 9_000_000, "per": 60},
            "model_input_tokens": {"price": 100_000_000, "per": 1_000_000},
            "model_output_tokens": {"price": 400_000_000, "per": 1_000_000},
            "speech_characters": {"price": 1_500_000_000, "per": 1_000_000},
            "recording_byte_days": {"price": 3_000_000, "per": 30_000_000_000},
            "number_days": {"price": 4_000_000, "per": 1},
        },
    },
}
FIRST["custom"] = {**FIRST["growth"], "included": {}}
SEED = """
INSERT INTO public.plans (plan, version, valid_from, document)
VALUES ('{plan}', 1, '2026-01-01 00:00:00+00', '{document}');
"""

# A later version applies from its date on.
PLAN_NOW = """
CREATE FUNCTION public.plan_now(INOUT plan text, OUT version integer, OUT document jsonb)
RETURNS record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document
    FROM public.plans p WHERE p.plan = plan_now.plan AND p.valid_from <= now()
    ORDER BY p.valid_from DESC, p.version DESC LIMIT 1;
$$;
"""

OWN_PLAN = """
CREATE FUNCTION public.own_plan(OUT plan text, OUT version integer, OUT document jsonb)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document
    FROM public.tenants t, public.plan_now(t.plan) p
    WHERE t.id = public.acting_tenant();
$$;
"""

# Includes the plan's concurrency limits.
OWN_STANDING = """
DROP FUNCTION public.own_standing();
CREATE FUNCTION public.own_standing(
    OUT plan text, OUT tenant_status text, OUT dialling_frozen boolean, OUT plan_limits jsonb
)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.plan, t.status,
           EXISTS (SELECT FROM public.deployment d WHERE d.dialling_frozen_at IS NOT NULL),
           p.document->'limits'
    FROM public.tenants t, public.plan_now(t.plan) p
    WHERE t.id = public.acting_tenant();
$$;
"""

OWN_USAGE = """
CREATE FUNCTION public.own_usage(
    p_period date,
    OUT plan text, OUT version integer, OUT document jsonb,
    OUT amount bigint, OUT kinds jsonb, OUT told jsonb
)
RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.plan, p.version, p.document,
           coalesce(u.amount, 0), coalesce(u.kinds, '{}'), coalesce(u.told, '[]')
    FROM public.own_plan() p
    LEFT JOIN public.usage_periods u
        ON u.period = p_period AND u.tenant_id = public.acting_tenant();
$$;
"""

# The same, locked until the transaction ends.
HOLD_USAGE = """
CREATE FUNCTION public.hold_usage(
    p_period date,
    OUT plan text, OUT version integer, OUT document jsonb,
    OUT amount bigint, OUT kinds jsonb, OUT told jsonb
)
RETURNS record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := public.acting_tenant();
BEGIN
    PERFORM FROM public.usage_periods u
    WHERE u.period = p_period AND u.tenant_id = v_tenant FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO public.usage_periods AS u (period, tenant_id, currency, amount, kinds, told)
        SELECT p_period, v_tenant, p.document->>'currency', 0, '{}', '[]' FROM public.own_plan() p
        ON CONFLICT ON CONSTRAINT usage_periods_pkey DO UPDATE SET updated_at = now();
    END IF;
    SELECT * INTO plan, version, document, amount, kinds, told FROM public.own_usage(p_period);
END $$;
"""

KEEP_USAGE = """
CREATE FUNCTION public.keep_usage(p_period date, p_amount bigint, p_kinds jsonb, p_told jsonb)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.usage_periods u
    SET amount = p_amount, kinds = p_kinds, told = p_told, updated_at = now()
    WHERE u.period = p_period AND u.tenant_id = public.acting_tenant();
$$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    for plan, document in FIRST.items():
        op.execute(SEED.format(plan=plan, document=json.dumps(document).replace(":", r"\:")))
    for statement in (PLAN_NOW, OWN_PLAN, OWN_STANDING, OWN_USAGE, HOLD_USAGE, KEEP_USAGE):
        op.execute(statement)
