"""Reports on hit rate, time saved, runs and artifacts."""
