-- grants: tenant
--
-- Claim a number for a phone number of the transaction's tenant. The function without an account
-- defines the terms and the result.
CREATE OR REPLACE FUNCTION public.claim_did(
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
