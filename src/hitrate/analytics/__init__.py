"""What the events are recorded for: hit rate, time saved, runs, artifacts, and their export."""
