"""Protection against formula injection in exported CSV files.

A spreadsheet executes a cell that begins with a formula prefix. A leading apostrophe makes it text.
"""

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that begin a formula. The last four are the full-width forms of = + - @."""


def escape_formula(value: str) -> str:
    """Prefix a value with an apostrophe if a spreadsheet would execute it."""
    return "'" + value if value.startswith(FORMULA_PREFIXES) else value


def escape_formula_sql(expression: str) -> str:
    """Return the SQL expression that applies `escape_formula` to a text expression in DuckDB."""
    code_points = ", ".join(str(ord(prefix)) for prefix in FORMULA_PREFIXES)
    return (
        f"CASE WHEN unicode({expression}) IN ({code_points}) "
        f"THEN '''' || {expression} ELSE {expression} END"
    )
