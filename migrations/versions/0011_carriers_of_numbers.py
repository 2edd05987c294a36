"""Record the carrier account of each number, and of the carrier it moved from.

The functions for the code before this revision stay; they know no accounts. Each function checks
the transaction's tenant.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

COLUMNS = """
ALTER TABLE public.dids
    ADD COLUMN telephony_account_id uuid,
    ADD COLUMN previous_provider_type text,
    ADD COLUMN previous_account_id uuid,
    ADD COLUMN previous_until timestamptz;
"""

# Like the function without an account, which defines the terms; 'proven' is first come, first
# served.
CLAIM_DID = """
CREATE FUNCTION public.claim_did(
    p_number text, p_phone_number_id uuid, p_provider_type text, p_account_id uuid, p_terms text
)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_outcome text := public.claim_did(p_number, p_phone_number_id, p_provider_type, p_terms);
BEGIN
    IF v_outcome = 'claimed' THEN
        UPDATE public.dids d
        SET telephony_account_id = p_account_id, previous_provider_type = NULL,
            previous_account_id = NULL, previous_until = NULL
        WHERE d.did_number = p_number AND d.tenant_id = public.acting_tenant();
    END IF;
    RETURN v_outcome;
END $$;
"""

NOTE_DID = """
CREATE FUNCTION public.note_did(
    p_number text, p_phone_number_id uuid, p_status text, p_provider_type text, p_account_id uuid,
    p_previous_provider_type text, p_previous_account_id uuid, p_previous_until timestamptz
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.dids d
    SET registration_status = p_status, provider_type = p_provider_type,
        telephony_account_id = p_account_id, previous_provider_type = p_previous_provider_type,
        previous_account_id = p_previous_account_id, previous_until = p_previous_until,
        updated_at = now()
    WHERE d.did_number = p_number AND d.phone_number_id = p_phone_number_id
      AND d.tenant_id = public.acting_tenant();
    RETURN FOUND;
END $$;
"""


def upgrade() -> None:
    for statement in (COLUMNS, CLAIM_DID, NOTE_DID):
        op.execute(statement)
