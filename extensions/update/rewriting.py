"""The rewriting of owners' code: imports and calls of what has moved, and not a character more.

The code is read as a concrete syntax tree, with the scope of each name, so that a variable that only has the name of
a module stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import libcst as cst
from libcst.metadata import (
    ExpressionContext,
    ExpressionContextProvider,
    ImportAssignment,
    MetadataWrapper,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
    ScopeProvider,
)

from .rewritings import CALLS, MACHINERY, NAMES, OTHERWISE, PACKAGE

Import = cst.Import | cst.ImportFrom


@dataclass(frozen=True)
class Left:
    """A place that only a person can rewrite."""

    path: str
    line: int
    what: str  # such as "churn.registry.champion"
    instead: str  # what to do

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.path}:{self.line}: {self.what} has moved: {self.instead}"


@dataclass(frozen=True)
class Rewritten:
    """What came of a file."""

    text: str
    left: tuple[Left, ...]


def rewrite(text: str, path: str, package: str, own: Iterable[str] = ()) -> Rewritten:
    """Rewrite what a module imports of the machinery that has moved to the engine.

    Args:
        text: the module's text.
        path: where it is in the project, with slashes.
        package: the project's package.
        own: modules of the package that are there: what they hold has not moved. Such as `inner_loop.mine`.

    Raises:
        cst.ParserSyntaxError: it is no Python.
    """
    if not re.search(rf"\b{package}\b|^\s*from\s+\.", text, flags=re.MULTILINE):
        return Rewritten(text, ())
    module = PurePosixPath(path).with_suffix("").parts
    module = module[module.index("src") + 1 :] if "src" in module else module
    wrapper = MetadataWrapper(cst.parse_module(text))
    finder = _Finder(_Moved(package, module[:-1], frozenset(own)), path)
    wrapper.visit(finder)
    if not finder.renamed and not finder.imports:
        return Rewritten(text, tuple(finder.left))
    rewritten = wrapper.module.visit(_Rewriter(finder)).visit(_Joiner())
    return Rewritten(rewritten.visit(_Pruner(finder.wanted)).code, tuple(finder.left))


@dataclass(frozen=True)
class _Moved:
    """Tells which names were the machinery's."""

    package: str
    parents: Sequence[str]  # the packages around the module, the outermost first
    own: frozenset[str]  # modules below the package that are there, as `inner_loop.mine`

    def below(self, name: str) -> str | None:
        """Return a full or relative name below the project's package; None: it is elsewhere, or was not moved."""
        dots = len(name) - len(name.lstrip("."))
        if dots:
            around = self.parents[: len(self.parents) - dots + 1]
            name = ".".join([*around, name[dots:]])
        if not name.startswith(f"{self.package}."):
            return None
        rest = name.removeprefix(f"{self.package}.")
        module = rest.split(".")
        if any(".".join(module[:end]) in self.own for end in range(1, len(module) + 1)):
            return None
        return rest if rest in NAMES or module[0] in MACHINERY else None


@dataclass
class _ImportPlan:
    """What becomes of one import."""

    drop: set[str] = field(default_factory=set)  # names that it imports, and need not any more
    add: list[tuple[str, str | None]] = field(default_factory=list)  # names of the engine, and as what


class _Finder(cst.CSTVisitor):
    """Finds what to rewrite: expressions by node, imports by node, and what is left to a person."""

    METADATA_DEPENDENCIES = (ExpressionContextProvider, PositionProvider, QualifiedNameProvider, ScopeProvider)

    def __init__(self, moved: _Moved, path: str) -> None:
        super().__init__()
        self.moved = moved
        self.path = path
        self.renamed: dict[cst.CSTNode, str | Callable[[cst.Call], cst.Call]] = {}
        self.imports: dict[Import, _ImportPlan] = {}
        self.left: list[Left] = []
        self.wanted: set[str] = set()  # names that are imported only if they are used in the end
        # Names that imports bind, each with its import: what something left still needs, what was rewritten, and with
        # which new name.
        self._kept: set[tuple[Import, str]] = set()
        self._done: set[tuple[Import, str]] = set()
        self._used: list[tuple[Import, str, str]] = []
        self._found: list[tuple[Import, str, str, str]] = []  # imports, their names, what they import, as what

    # Imports are looked at in the end, when it is known what still needs them.

    def visit_Import(self, node: cst.Import) -> bool:
        for alias in node.names:
            name = _dotted(alias.name)
            if below := self.moved.below(name):
                self._found.append((node, name, below, _alias(alias) or name.split(".")[0]))
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        start = "." * len(node.relative) + (_dotted(node.module) if node.module else "")
        joined = start if start.endswith(".") else f"{start}."
        if isinstance(node.names, cst.ImportStar):
            if below := self.moved.below(start):
                self._leave(node, below)
            return False
        for alias in node.names:
            name = _dotted(alias.name)
            if below := self.moved.below(joined + name):
                self._found.append((node, name, below, _alias(alias) or name))
        return False

    def leave_Module(self, original_node: cst.Module) -> None:
        for node, name, below, local in self._found:
            plan = self.imports.setdefault(node, _ImportPlan())
            if below in NAMES:
                plan.drop.add(name)
                plan.add.append((NAMES[below], None if local == NAMES[below] else local))
            elif (node, local) in self._done - self._kept:
                plan.drop.add(name)
                plan.add += [(new, None) for each, bound, new in self._used if (each, bound) == (node, local)]
            elif (node, local) not in self._kept:
                self._leave(node, below)
        self.imports = {node: plan for node, plan in self.imports.items() if plan.drop}

    # Expressions.

    def visit_Call(self, node: cst.Call) -> bool:
        below = self._below(node.func)
        if below is None or below not in CALLS:
            return True
        call = CALLS[below]
        if not call.matches(node):
            self._leave(node, below, call.instead)
            self._keep(node.func)
            for argument in node.args:
                argument.visit(self)
            return False
        self.renamed[node] = lambda updated: updated.with_changes(
            func=cst.Name(call.new), args=[cst.Arg(value) for value in call.keeps(updated)]
        )
        self._use(node.func, call.new)
        names = _Names()
        node.visit(names)
        self._done |= {each for name in names.nodes for each in self._imports_of(name)}
        for value in call.keeps(node):
            value.visit(self)
        return False

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        below = self._below(node)
        if below in NAMES:
            self.renamed[node] = NAMES[below]
            self._use(node, NAMES[below])
        elif below and not any(below.startswith(f"{name}.") for name in NAMES):
            instead = CALLS[below].instead if below in CALLS else OTHERWISE
            self._leave(node, below, instead)
            self._keep(node)
        else:
            node.value.visit(self)
        return False

    def visit_Name(self, node: cst.Name) -> None:
        below = self._below(node)
        if below and below not in NAMES:
            self._keep(node)
            instead = CALLS[below].instead if below in CALLS else OTHERWISE
            self._leave(node, below, instead)

    def visit_Arg(self, node: cst.Arg) -> bool:
        node.value.visit(self)
        return False

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        value = node.evaluated_value
        if isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)+", value) and (below := self.moved.below(value)):
            self._leave(node, below)

    def _below(self, node: cst.CSTNode) -> str | None:
        """Return what of the machinery an expression names."""
        root = node
        while isinstance(root, cst.Attribute):
            root = root.value
        if not isinstance(root, cst.Name):  # the result of a call has names of its own
            return None
        if self.get_metadata(ExpressionContextProvider, node, None) is not ExpressionContext.LOAD:
            return None
        names = list(self.get_metadata(QualifiedNameProvider, node, set()))
        if len(names) != 1 or names[0].source is not QualifiedNameSource.IMPORT:
            return None
        return self.moved.below(names[0].name)

    def _imports_of(self, node: cst.CSTNode) -> list[tuple[Import, str]]:
        """Return the imports that bind the first name of an expression, and that name."""
        while isinstance(node, cst.Attribute):
            node = node.value
        if not isinstance(node, cst.Name):
            return []
        scope = self.get_metadata(ScopeProvider, node, None)
        bound = scope[node.value] if scope else ()
        nodes = [each.node for each in bound if isinstance(each, ImportAssignment)]
        return [(each, node.value) for each in nodes if isinstance(each, Import)]

    def _use(self, node: cst.CSTNode, new: str) -> None:
        self.wanted.add(new)
        self._used += [(*each, new) for each in self._imports_of(node)]
        self._done.update(self._imports_of(node))

    def _keep(self, node: cst.CSTNode) -> None:
        self._kept.update(self._imports_of(node))

    def _leave(self, node: cst.CSTNode, below: str, instead: str = OTHERWISE) -> None:
        line = self.get_metadata(PositionProvider, node).start.line
        left = Left(self.path, line, f"{self.moved.package}.{below}", instead)
        if left not in self.left:
            self.left.append(left)


class _Rewriter(cst.CSTTransformer):
    """Does what was found."""

    def __init__(self, found: _Finder) -> None:
        super().__init__()
        self.found = found

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        change = self.found.renamed.get(original_node)
        return change(updated_node) if callable(change) else updated_node

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        new = self.found.renamed.get(original_node)
        return cst.Name(new, updated_node.lpar, updated_node.rpar) if isinstance(new, str) else updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine] | cst.RemovalSentinel:
        statements: list[cst.BaseSmallStatement] = []
        for original, updated in zip(original_node.body, updated_node.body, strict=True):
            plan = self.found.imports.get(original) if isinstance(original, Import) else None
            statements += _replaced(updated, plan) if plan and isinstance(updated, Import) else [updated]
        if list(updated_node.body) == statements:
            return updated_node
        if not statements:
            return cst.RemoveFromParent()
        first, *others = [cst.SimpleStatementLine([statement]) for statement in statements]
        lines = [first.with_changes(leading_lines=updated_node.leading_lines), *others]
        lines[-1] = lines[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(lines)


def _replaced(statement: Import, plan: _ImportPlan) -> list[cst.BaseSmallStatement]:
    """Return what stands in place of an import."""
    names = statement.names if not isinstance(statement.names, cst.ImportStar) else ()
    rest = [alias for alias in names if _dotted(alias.name) not in plan.drop]
    replaced: list[cst.BaseSmallStatement] = []
    if rest:
        rest[-1] = rest[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        replaced.append(statement.with_changes(names=rest))
    if plan.add:
        replaced.append(_from_engine(plan.add))
    return replaced


def _from_engine(names: Iterable[tuple[str, str | None]]) -> cst.ImportFrom:
    unique = sorted(set(names), key=lambda pair: (not pair[0].isupper(), not pair[0][0].isupper(), *map(str, pair)))
    aliases = [
        cst.ImportAlias(cst.Name(name), cst.AsName(cst.Name(local)) if local else None) for name, local in unique
    ]
    return cst.ImportFrom(cst.Name(PACKAGE), aliases)


class _Joiner(cst.CSTTransformer):
    """Makes one import of the engine's imports of a block, at the place of the first."""

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(body=_joined(updated_node.body))

    def leave_IndentedBlock(self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock) -> cst.BaseSuite:
        return updated_node.with_changes(body=_joined(updated_node.body))


def _joined(body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    lines = [(line, _of_engine(line)) for line in body]
    ours = [each for _, each in lines if each]
    if len(ours) < 2:
        return list(body)
    names = [(_dotted(alias.name), _alias(alias)) for each in ours for alias in each.names]  # type: ignore[union-attr]
    joined: list[cst.BaseStatement] = []
    done = False
    for line, each in lines:
        if each and not done:
            joined.append(line.with_changes(body=[_from_engine(names)]))
            done = True
        elif not each:
            joined.append(line)
    return joined


def _of_engine(line: cst.BaseStatement) -> cst.ImportFrom | None:
    """Return the import of the engine's names that a line is, where it has no comment."""
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return None
    only = line.body[0]
    if not isinstance(only, cst.ImportFrom) or only.module is None or _dotted(only.module) != PACKAGE:
        return None
    comments = [*(each.comment for each in line.leading_lines), line.trailing_whitespace.comment]
    plain = not any(comments) and not isinstance(only.names, cst.ImportStar)
    return only if plain else None


class _Pruner(cst.CSTTransformer):
    """Takes out of the engine's imports what a larger call has made superfluous."""

    def __init__(self, candidates: set[str]) -> None:
        super().__init__()
        self.candidates = candidates
        self.used: set[str] = set()

    def visit_Module(self, node: cst.Module) -> None:
        counter = _Names()
        node.visit(counter)
        self.used = {name.value for name in counter.nodes}

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        return updated_node if updated_node.body else cst.RemoveFromParent()

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        names = updated_node.names
        if updated_node.module is None or _dotted(updated_node.module) != PACKAGE or isinstance(names, cst.ImportStar):
            return updated_node
        rest = [each for each in names if _dotted(each.name) in self.used or _dotted(each.name) not in self.candidates]
        if len(rest) == len(names):
            return updated_node
        if not rest:
            return cst.RemoveFromParent()
        rest[-1] = rest[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(names=rest)


class _Names(cst.CSTVisitor):
    """Collects the names that are used outside imports."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[cst.Name] = []

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def visit_Name(self, node: cst.Name) -> None:
        self.nodes.append(node)


def _dotted(node: cst.BaseExpression) -> str:
    return cst.helpers.get_full_name_for_node_or_raise(node)


def _alias(alias: cst.ImportAlias) -> str | None:
    return alias.evaluated_alias
