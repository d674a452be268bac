"""Handlers: one function for each job type, which gets the job's payload as its argument.

`handlers.yaml` beside this file says which function runs which type. They need the standard library alone.
"""

import ast
import csv
import hashlib
import io
import math
import operator
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

Payload = dict[str, Any]


def remind(text: str) -> str:
    """The action of `forms/task-once.yaml`."""
    print(f"reminder: {text}")
    return text


def download(payload: Payload) -> Payload:
    """Fetch `url` (http, https, ftp, file, data) into `path`; its size and digest."""
    digest, size = hashlib.sha256(), 0
    target = Path(payload["path"])
    with urllib.request.urlopen(payload["url"], timeout=60) as source, target.open("wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {"path": str(target.resolve()), "size": size, "sha256": digest.hexdigest()}


class _Page(HTMLParser):
    """Title and links."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember where links lead."""
        self._inside = tag == "title"
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_data(self, data: str) -> None:
        """Remember the title."""
        if self._inside:
            self.title += data.strip()
            self._inside = False


def scrape(payload: Payload) -> Payload:
    """Title and links of a page: of `html`, or of what is at `url`."""
    text = payload.get("html")
    if text is None:
        with urllib.request.urlopen(payload["url"], timeout=60) as source:
            text = source.read().decode("utf-8", "replace")
    page = _Page()
    page.feed(text)
    return {"title": page.title, "links": page.links}


def file_process(payload: Payload) -> Payload:
    """Count, hash or sort the lines of `text`, or of the file at `path`."""
    text = payload["text"] if "text" in payload else Path(payload["path"]).read_text(encoding="utf-8")
    operations: dict[str, Callable[[], Any]] = {
        "count": lambda: {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)},
        "hash": lambda: hashlib.sha256(text.encode()).hexdigest(),
        "sort": lambda: sorted(text.splitlines()),
    }
    return {"operation": payload["operation"], "result": operations[payload["operation"]]()}


_TOOLS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "reverse": lambda text: text[::-1],
    "words": lambda text: str(len(text.split())),
}


def agent_task(payload: Payload) -> Payload:
    """Take the `steps` towards `goal`: each is a tool, whose input is its own or the output of the step before."""
    transcript = []
    output = ""
    for step in payload["steps"]:
        output = _TOOLS[step["tool"]](step.get("input", output))
        transcript.append({"tool": step["tool"], "output": output})
    return {"goal": payload["goal"], "transcript": transcript, "answer": output}


def research(payload: Payload) -> Payload:
    """Rank `documents` by how much their rare words have in common with `question` (TF-IDF)."""
    bags = [Counter(_words(text)) for text in payload["documents"]]
    spread = Counter(word for bag in bags for word in bag)
    scores = [
        sum(bag[word] * math.log(1 + len(bags) / spread[word]) for word in _words(payload["question"]) if word in bag)
        for bag in bags
    ]
    order = sorted(range(len(bags)), key=lambda index: -scores[index])
    return {"ranking": [{"document": index, "score": round(scores[index], 3)} for index in order]}


def _words(text: str) -> list[str]:
    """Lower-case words, plural or not."""
    return [word.rstrip("s") for word in re.findall(r"[a-z]+", text.lower())]


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def computation(payload: Payload) -> float:
    """The value of an arithmetic `expression` with `variables`; it is read, never executed."""
    variables = payload.get("variables", {})

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                return variables[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(operand))
        raise ValueError(f"expected numbers, names and + - * /, found {ast.unparse(node)}")

    return float(value(ast.parse(payload["expression"], mode="eval").body))


def data_analysis(payload: Payload) -> Payload:
    """Count, mean, median and range of a `column` of `rows`, or of the CSV file at `path`."""
    rows = payload.get("rows")
    if rows is None:
        rows = list(csv.DictReader(io.StringIO(Path(payload["path"]).read_text(encoding="utf-8"))))
    numbers = [float(row[payload["column"]]) for row in rows]
    return {
        "count": len(numbers),
        "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers),
        "range": [min(numbers), max(numbers)],
    }


def code_review(payload: Payload) -> list[Payload]:
    """What a reviewer would point at in `source`: bare excepts, mutable defaults, missing docstrings."""
    findings = []
    for node in ast.walk(ast.parse(payload["source"])):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            findings.append({"line": node.lineno, "finding": "a bare except hides every error"})
        if isinstance(node, ast.FunctionDef):
            if any(isinstance(default, ast.List | ast.Dict | ast.Set) for default in node.args.defaults):
                findings.append({"line": node.lineno, "finding": "a mutable default is shared by all calls"})
            if ast.get_docstring(node) is None:
                findings.append({"line": node.lineno, "finding": f"{node.name} has no docstring"})
    return sorted(findings, key=lambda finding: finding["line"])


def testing(payload: Payload) -> Payload:
    """Run the unit tests in `source`; whether they passed, and what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_source.py").write_text(payload["source"], encoding="utf-8")
        command = [sys.executable, "-m", "unittest", "discover", "-s", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return {"passed": done.returncode == 0, "output": done.stderr}


def image_generation(payload: Payload) -> bytes:
    """A picture of `width` by `height` (a grey gradient, as PGM): the place where a model would be called."""
    width, height = payload["width"], payload["height"]
    row = bytes(255 * column // max(width - 1, 1) for column in range(width))
    return f"P5 {width} {height} 255\n".encode() + row * height
