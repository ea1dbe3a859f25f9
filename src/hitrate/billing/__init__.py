"""Quotas, metering, billing cycles and cost."""
