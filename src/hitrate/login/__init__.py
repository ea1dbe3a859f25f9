"""Signing in: pages for people, single sign-on, and what `turbo login` and `turbo link` ask for."""
