"""Generated demo data: a simulated monorepo and months of its runs."""
