"""Jobs that fail, and what follows them."""

import json
from pathlib import Path
from typing import Any


def fails(*_: Any) -> None:
    """Always."""
    raise ValueError("it always fails")


def works(payload: Any = None) -> Any:
    """Never fails."""
    return payload


def follows(event: dict[str, Any], folder: str) -> str:
    """Writes down what it was told."""
    data = event["data"]
    with (Path(folder) / "followed").open("a") as file:
        file.write(json.dumps([event["type"], data["id"], data["attempt"], data["error"]]) + "\n")
    return str(data["id"])
