"""JSON API under /v1/teams and /v1/user, and the account API that turbo login uses."""
