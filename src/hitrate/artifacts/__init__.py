"""The cache whose use is recorded: artifacts in files, an index in the database, and their room."""
