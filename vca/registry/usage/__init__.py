"""What everything costs, by plan and version, and what each tenant has used of each month.

A month's row is written by the tenant's own transaction, through functions that know whose it is;
so operators read what all tenants used without visiting them.
"""
