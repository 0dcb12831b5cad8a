"""What holds for all tests."""

from __future__ import annotations

import ast
from pathlib import Path


def test_no_test_imports_another() -> None:
    """What two tests need is in tests/support, or in a conftest.py: a test can be changed without looking at others."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(each.name for each in node.names)]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            else:
                continue
            imported = [name for name in names if name.rpartition(".")[2].startswith("test_")]
            assert imported == [], f"{path}, line {node.lineno}"
