"""Teams, users and members, their settings, and the audit log."""
