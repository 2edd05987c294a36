-- grants: tenant
--
-- Record the registration of a number at its carrier. It knows no accounts.
CREATE OR REPLACE FUNCTION public.note_did_registration(
    p_number text, p_phone_number_id uuid, p_provider_type text, p_status text
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.dids d
    SET registration_status = p_status, provider_type = p_provider_type, updated_at = now()
    WHERE d.did_number = p_number AND d.phone_number_id = p_phone_number_id
      AND d.tenant_id = public.acting_tenant();
    RETURN FOUND;
END $$;
