-- grants: tenant
--
-- Return the phone number that claimed this number; the nil UUID stands for another tenant's.
CREATE OR REPLACE FUNCTION public.did_holder(p_number text)
RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN d.tenant_id = public.acting_tenant() THEN d.phone_number_id
                ELSE '00000000-0000-0000-0000-000000000000' END
    FROM public.dids d WHERE d.did_number = p_number AND d.state = 'claimed';
$$;
