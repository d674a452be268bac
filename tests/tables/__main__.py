"""Write `TABLES.md` anew."""

from tests.tables.counting import PAGE, page
from tests.tables.tables import TABLES

PAGE.write_text(page(TABLES), encoding="utf-8")
