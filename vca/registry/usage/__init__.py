"""Plans and their prices by version, and each tenant's usage by month.

The tenant's own transactions write a month's row, through functions that check the tenant. The
platform can so read the usage of all tenants without visiting them.
"""
