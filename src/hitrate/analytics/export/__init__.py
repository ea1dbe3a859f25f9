"""Export of events, runs and artifacts as NDJSON, CSV or Parquet."""
