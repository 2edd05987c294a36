"""Store the last check of each language model, for all processes."""

from alembic import op

revision = "0014"
down_revision = "0013"

TABLE = """
CREATE TABLE public.model_checks (
    endpoint text NOT NULL,
    model text NOT NULL,
    started_at timestamptz NOT NULL,
    checked_at timestamptz,
    support jsonb,
    failure text,
    CONSTRAINT model_checks_pkey PRIMARY KEY (endpoint, model)
);
"""

# Only one process starts a check, and no process starts one soon after another.
START = """
CREATE FUNCTION public.start_model_check(p_endpoint text, p_model text, p_min_age interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.model_checks AS c (endpoint, model, started_at)
    VALUES (p_endpoint, p_model, clock_timestamp())
    ON CONFLICT (endpoint, model) DO UPDATE SET started_at = clock_timestamp()
    WHERE c.started_at <= clock_timestamp() - p_min_age;
    RETURN FOUND;
END $$;
"""

FINISH = """
CREATE FUNCTION public.finish_model_check(
    p_endpoint text, p_model text, p_support jsonb, p_failure text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.model_checks AS c
        (endpoint, model, started_at, checked_at, support, failure)
    VALUES (p_endpoint, p_model, clock_timestamp(), clock_timestamp(), p_support, p_failure)
    ON CONFLICT (endpoint, model) DO UPDATE SET checked_at = clock_timestamp(),
        support = p_support, failure = p_failure;
    RETURN true;
END $$;
"""


def upgrade() -> None:
    for statement in (TABLE, START, FINISH):
        op.execute(statement)
