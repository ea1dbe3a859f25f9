"""HTML pages: sign-in, account, turbo login consent and the dashboard."""
