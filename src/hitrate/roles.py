"""Roles of members in a team."""

from enum import StrEnum


class Role(StrEnum):
    """Role of a member. `auth/permissions.py` lists what each may do.

    `turbo` knows these names from Vercel.
    """

    OWNER = "OWNER"
    MEMBER = "MEMBER"
    DEVELOPER = "DEVELOPER"
    VIEWER = "VIEWER"
    BILLING = "BILLING"
