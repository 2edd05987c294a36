-- grants: tenant
--
-- Claim a number for a phone number of the transaction's tenant. Returns 'claimed', 'taken' (by any
-- tenant) or 'unassigned'. A tenant may claim a number that is assigned to it, or that was its own
-- and is in quarantine. A permit, which is used up, allows a number that nobody has, too: see
-- public.permit_claim.
CREATE OR REPLACE FUNCTION public.claim_did(
    p_number text, p_phone_number_id uuid, p_provider_type text, p_account_id uuid
)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant uuid := public.acting_tenant();
    v_now timestamptz := now();
    v_quarantined boolean;
BEGIN
    DELETE FROM public.did_permits p
    WHERE p.did_number = p_number AND p.tenant_id = v_tenant AND p.expires_at > clock_timestamp()
    RETURNING p.quarantined INTO v_quarantined;
    IF NOT FOUND THEN
        UPDATE public.dids d
        SET state = 'claimed', phone_number_id = p_phone_number_id,
            provider_type = p_provider_type, telephony_account_id = p_account_id,
            previous_provider_type = NULL, previous_account_id = NULL, previous_until = NULL,
            registration_status = 'pending', rests_until = NULL, updated_at = v_now
        WHERE d.did_number = p_number AND d.tenant_id = v_tenant AND d.state <> 'claimed';
    ELSE
        INSERT INTO public.dids AS d (
            did_number, tenant_id, state, phone_number_id, provider_type, telephony_account_id,
            registration_status
        )
        VALUES (
            p_number, v_tenant, 'claimed', p_phone_number_id, p_provider_type, p_account_id,
            'pending'
        )
        ON CONFLICT (did_number) DO UPDATE
        SET tenant_id = v_tenant, state = 'claimed', phone_number_id = p_phone_number_id,
            provider_type = p_provider_type, telephony_account_id = p_account_id,
            previous_provider_type = NULL, previous_account_id = NULL, previous_until = NULL,
            registration_status = 'pending', rests_until = NULL, updated_at = v_now
        WHERE (d.tenant_id = v_tenant AND d.state <> 'claimed')
           OR (d.state = 'resting' AND (v_quarantined OR d.rests_until <= v_now));
    END IF;
    IF FOUND THEN
        RETURN 'claimed';
    END IF;
    PERFORM FROM public.dids d
    WHERE d.did_number = p_number AND (d.state <> 'resting' OR d.rests_until > v_now);
    RETURN CASE WHEN FOUND THEN 'taken' ELSE 'unassigned' END;
END $$;
