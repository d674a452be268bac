"""Every case of every decision table, and the page about them."""

import pytest

from tests.tables.counting import DATA, DIFFERS, NOT_EXPRESSIBLE, PAGE, PASSES, Table, page
from tests.tables.tables import TABLES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.folder)
def test_no_case_differs_unexplained(table: Table) -> None:
    verdicts = table.judge()
    assert [found for found in verdicts if found.outcome == DIFFERS and found.why.startswith("UNEXPLAINED")] == []
    assert sum(found.outcome == PASSES for found in verdicts) > len(verdicts) / 2
    assert sum(found.outcome != NOT_EXPRESSIBLE for found in verdicts) >= 0.8 * len(verdicts)


def test_every_folder_of_data_has_its_adapter_and_its_source() -> None:
    folders = sorted(path.name for path in DATA.iterdir())
    assert folders == sorted(table.folder for table in TABLES)
    assert all("licen" in text.lower() or "own" in text for text in (_source(folder) for folder in folders))


def _source(folder: str) -> str:
    return (DATA / folder / "SOURCE.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(TABLES), "out of date: run `python -m tests.tables`"
