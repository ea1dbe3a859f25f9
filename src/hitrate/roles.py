"""Roles of members in a team."""

from enum import StrEnum


class Role(StrEnum):
    """Role of a member. `auth/permissions.py` lists what each may do.

    The names are those that `turbo` knows from Vercel.
    """

    OWNER = "OWNER"
    MEMBER = "MEMBER"
    DEVELOPER = "DEVELOPER"
    VIEWER = "VIEWER"
    BILLING = "BILLING"
