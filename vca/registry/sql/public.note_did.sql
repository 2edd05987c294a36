-- grants: tenant
--
-- Record the registration of a number at its carrier, and the carrier from which it moves.
CREATE OR REPLACE FUNCTION public.note_did(
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
