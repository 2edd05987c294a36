"""Main flows of the suite with a tenant at the head revision and at the one before it.

A release must serve both, because tenants are migrated while it runs.
"""

import pytest

from tests.integration.calls import test_first_call as first_call
from tests.integration.calls import test_inbound as inbound
from tests.integration.tenant import test_ai_profiles as ai_profiles
from tests.integration.tenant import test_phone_numbers as phone_numbers
from tests.support import migrate_command
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import NICKNAMES_SQL, RevisionTree
from vca.tenancy import schema


@pytest.fixture(params=["migrated already", "not yet"])
def acme(
    request: pytest.FixtureRequest, migration_world: Factory, revision_tree: RevisionTree
) -> Tenant:
    """Return the tenant of every flow; the code has one more revision than the tenant's first."""
    tenant = migration_world.tenant("Acme")
    first_revision = schema.head()
    head = revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    if request.param == "migrated already":
        migrate_command.run_migrate(migration_world)
    assert migrate_command.recorded_revision(tenant) == (
        head if request.param == "migrated already" else first_revision
    )
    return tenant


@pytest.fixture
def globex(acme: Tenant, migration_world: Factory) -> Tenant:
    """Return a second tenant, which is not migrated."""
    return migration_world.tenant("Globex")


carrier_client = inbound.carrier_client
answered_number = inbound.answered_number

test_a_simulated_call = first_call.test_a_simulated_call_is_answered_and_recorded
test_an_inbound_call = inbound.test_an_inbound_call_is_answered_by_the_agent_and_recorded
test_a_call_over_http = inbound.test_a_conversation_over_http_is_recorded_until_its_end
test_a_replayed_inbound_call = (
    inbound.test_a_repeated_inbound_request_returns_the_same_call_and_greeting
)
test_two_tenants = inbound.test_one_carrier_call_id_at_two_tenants_is_two_calls
test_repeated_statuses = inbound.test_repeated_status_events_in_any_order_result_in_the_same_row
test_a_status_without_a_token = inbound.test_a_status_without_a_token_finds_its_call_by_the_number
test_quarantine = inbound.test_a_call_to_a_quarantined_number_is_rejected_and_recorded
test_a_closed_number = inbound.test_a_caller_of_a_closed_number_hears_the_closing_sentence

test_registration = phone_numbers.test_a_new_number_is_registered_by_a_job
test_deactivation = phone_numbers.test_deactivating_unregisters_and_reactivating_registers
test_deletion = phone_numbers.test_deleting_unregisters
test_moving = phone_numbers.test_moving_to_another_carrier_unregisters_the_old_one_at_its_release

test_the_default_profile = ai_profiles.test_setting_a_default_unsets_the_other
test_profile_versions = ai_profiles.test_each_change_of_content_is_a_new_version
test_the_version_of_a_call = ai_profiles.test_a_call_records_the_profile_version_that_answered_it
test_a_profile_in_use = ai_profiles.test_a_profile_that_a_number_names_is_not_deleted
