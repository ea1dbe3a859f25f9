"""Formula escaping of CSV cells, in Python and in DuckDB."""

import duckdb
import pytest

from hitrate.csv_safety import FORMULA_PREFIXES, escape_formula, escape_formula_sql

SAFE_VALUES = ["", "web", "1-2", "'=1", "a=b", " =1", "\U0001f600"]


@pytest.mark.parametrize("prefix", FORMULA_PREFIXES)
def test_escape_formula_prefixes_formulas_with_an_apostrophe(prefix: str) -> None:
    assert escape_formula(f"{prefix}1+1") == f"'{prefix}1+1"


@pytest.mark.parametrize("value", SAFE_VALUES)
def test_escape_formula_keeps_other_values(value: str) -> None:
    assert escape_formula(value) == value


@pytest.mark.parametrize("value", [*SAFE_VALUES, *(f"{prefix}x" for prefix in FORMULA_PREFIXES)])
def test_escape_formula_sql_agrees_with_escape_formula(value: str) -> None:
    with duckdb.connect() as connection:
        query = f"SELECT {escape_formula_sql('v')} FROM (SELECT ?::VARCHAR AS v)"
        assert connection.execute(query, [value]).fetchall() == [(escape_formula(value),)]
