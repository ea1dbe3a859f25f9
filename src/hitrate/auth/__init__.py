"""Authentication and authorization: tokens, permissions, browser sessions, single sign-on."""
