"""The merge of an update, tried out: the same merge of git, in a repository that is thrown away."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from commands.answer_space import Rendered

from ..update import updating
from ..update.obstacles import LINK, entries, find_obstacles, told
from .git import Refused, git, items, line, shown
from .repositories import Snapshot

MERGE: tuple[str, ...] = updating.MERGE
# Content that a clone left out is fetched from its remote when the merge asks for it.
PROMISED = ("-c", "remote.origin.promisor=true", "-c", "remote.origin.partialclonefilter=blob:none")


class Conflict(BaseModel):
    """A file that a person has to settle."""

    path: str
    why: str


@dataclass(frozen=True)
class Merged:
    """What a merge came to, by paths."""

    changed: list[str]
    conflicts: list[Conflict]
    left_out: list[str]


def merge(place: Snapshot, base: Mapping[str, Rendered], theirs: Mapping[str, Rendered], folder: Path) -> Merged:
    """Merge the change from one version to another into a project, and say what came of it.

    Args:
        place: the project.
        base: the version that it has, rendered.
        theirs: the newer version.
        folder: a folder for temporary files.

    Raises:
        Refused: git cannot read the project.
    """
    ignore, attributes = (copied(place, place.head, name, folder) for name in (updating.IGNORE, ".gitattributes"))
    theirs = _without_ignored(base, theirs, ignore)
    theirs, obstacles = _without_obstacles(place, base, theirs)
    scratch = Scratch(folder / "merge.git", place, attributes)
    scratch.commit_all(base, theirs)
    # As an update does it: the engine by itself, so that nothing of the project's own moves into it.
    between, *unmerged = scratch.merge("ours", "engine")
    tree, *others = scratch.merge(scratch.commit(between, "engine"), "theirs")
    unmerged += others
    stages = updating.stages(unmerged)
    blobs = {(path, about.split()[2]): about.split()[1] for about, _, path in (e.partition("\t") for e in unmerged)}

    def settled(path: str) -> bool:
        read = lambda side: scratch.git("cat-file", "blob", blobs[path, side])  # noqa: E731
        return updating.settle(path, stages[path], read) is not None

    conflicts = [Conflict(path=shown(path), why=why) for path, why in obstacles.items()]
    conflicts += [
        Conflict(path=shown(path), why=_why(scratch, tree, path, found))
        for path, found in sorted(stages.items())
        if PurePosixPath(path).name != updating.ANSWERS and found not in ({"1"}, {"1", "3"}) and not settled(path)
    ]
    left_out = {path for path, found in stages.items() if found == {"1", "3"}}
    left_out |= scratch.paths(tree) & _in_emptied_folders(scratch, base, theirs, ignore)
    listed = items(scratch.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", "ours", tree))
    # The newer answers file is taken as it is, whatever the merge makes of it.
    changed = {*listed, place.prefix + updating.ANSWERS} - left_out
    conflicts.sort(key=lambda conflict: conflict.path)
    return Merged(sorted(map(shown, changed)), conflicts, sorted(map(shown, left_out)))


def copied(place: Snapshot, revision: str, name: str, folder: Path) -> Path:
    """Return where a file of a commit is copied to, if the commit has it."""
    listed = git("ls-tree", "-z", revision, "--", name, folder=place.folder, variables=place.variables)
    if not listed:
        return folder / name
    mode_, kind, identifier = listed.split(b"\t")[0].decode().split()
    if kind != "blob":  # nothing is read of a folder
        return folder / name
    content = git("cat-file", "blob", identifier, folder=place.folder, variables=place.variables)
    if mode_ == LINK:
        if name == updating.ANSWERS:
            hint = "Put the file itself there: an update writes it, and would write through the link."
            raise Refused(f"{name} is a link to {shown(content.decode(errors='surrogateescape'))}.", hint=hint)
        return folder / name
    (folder / name).write_bytes(content)
    return folder / name


def kind_of(place: Snapshot) -> str:
    """Return how git names contents in a repository: "sha1" or "sha256"."""
    return line("rev-parse", "--show-object-format", folder=place.folder, variables=place.variables)


def blob(content: bytes, kind: str) -> str:
    """Return git's name for a content."""
    return hashlib.new(kind, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def mode(file: Rendered) -> str:
    """Return git's mode for a file."""
    return "100755" if file.executable else "100644"


def _without_ignored(base: Mapping[str, Rendered], theirs: Mapping[str, Rendered], ignore: Path) -> dict[str, Rendered]:
    """Return the new version without its changes to files that the project has told updates to leave alone."""
    changed = {path for path in {*base, *theirs} if base.get(path) != theirs.get(path)}
    left_alone = updating.ignored(changed, ignore)
    kept = {path: base[path] for path in left_alone if path in base}
    return {path: file for path, file in theirs.items() if path not in left_alone} | kept


def _without_obstacles(
    place: Snapshot, base: Mapping[str, Rendered], theirs: Mapping[str, Rendered]
) -> tuple[dict[str, Rendered], dict[str, str]]:
    """Return the new version without its changes where something of another kind stands, and what a person is told."""
    listed = git("ls-tree", "-r", "-z", "--full-tree", place.head, folder=place.folder, variables=place.variables)
    kind = kind_of(place)
    before, after = (
        {place.prefix + path: (mode(file), blob(file.content, kind)) for path, file in side.items()}
        for side in (base, theirs)
    )
    found = {
        path.removeprefix(place.prefix): why
        for path, why in find_obstacles(entries(items(listed)), before, after).items()
        if PurePosixPath(path).name != updating.ANSWERS
    }
    kept = {path: base[path] for path in found if path in base}
    rest = {path: file for path, file in theirs.items() if path not in found} | kept
    return rest, {place.prefix + path: told(why) for path, why in found.items()}


@dataclass
class Scratch:
    """A repository that is thrown away: it reads a project's objects, and everything new is written into it alone."""

    folder: Path
    project: Snapshot
    attributes: Path  # the project's .gitattributes: they may say how a file merges, and a bare repository reads none

    def __post_init__(self) -> None:
        """Make it."""
        words = ("init", "--quiet", "--bare", "--template=", f"--object-format={kind_of(self.project)}")
        line(*words, str(self.folder), folder=self.folder.parent)
        asked = ("rev-parse", "--git-path", "objects")
        objects = line(*asked, folder=self.project.folder, variables=self.project.variables)
        self.variables = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str((self.project.folder / objects).resolve())}
        self.settings = (*MERGE, "-c", f"core.attributesFile={self.attributes}")
        filtered = ("config", "remote.origin.partialclonefilter")
        # Only our own clone may fetch what it left out: by its settings, and not by those of somebody else.
        if self.project.ours and git(*filtered, folder=self.project.folder, accepted=(0, 1)):
            url = line("config", "remote.origin.url", folder=self.project.folder)
            self.settings += (*PROMISED, "-c", f"remote.origin.url={url}")

    def git(self, *words: str, given: bytes = b"", accepted: tuple[int, ...] = (0,)) -> bytes:
        """Run git in it.

        Raises:
            Refused: it failed, with what it said.
        """
        return git(*self.settings, *words, folder=self.folder, given=given, accepted=accepted, variables=self.variables)

    def commit_all(self, base: Mapping[str, Rendered], theirs: Mapping[str, Rendered]) -> None:
        """Make four commits: base; on it the project, `ours`, and the newer `engine` alone; on that all, `theirs`."""
        tree = self.git("rev-parse", f"{self.project.head}^{{tree}}").strip()
        ours = b"M 040000 %s \n" % tree
        stream = [
            _commit(1, "base", b"".join(self._change(path, file) for path, file in base.items())),
            _commit(2, "ours", b"from :1\ndeleteall\n" + ours),
            _commit(3, "engine", b"from :1\n" + self._engine(base, theirs)),
            _commit(4, "theirs", b"from :3\ndeleteall\n" + b"".join(self._change(*item) for item in theirs.items())),
        ]
        self.git("-c", "core.compression=0", "fast-import", "--quiet", "--depth=0", given=b"".join(stream))

    def merge(self, ours: str, theirs: str) -> tuple[str, ...]:
        """Merge two commits, and return the tree and git's list of what is unmerged."""
        words = ("merge-tree", "--write-tree", "-z", "--no-messages", ours, theirs)
        return items(self.git(*words, accepted=(0, 1)))

    def commit(self, tree: str, parent: str) -> str:
        """Commit a tree, and return the commit."""
        nobody = ("-c", "user.name=x", "-c", "user.email=x@invalid")
        return self.git(*nobody, "commit-tree", tree, "-p", parent, "-m", "x").decode().strip()

    def paths(self, revision: str) -> set[str]:
        """Return the files of a commit or tree."""
        return set(items(self.git("ls-tree", "-r", "--name-only", "-z", revision)))

    def _engine(self, base: Mapping[str, Rendered], theirs: Mapping[str, Rendered]) -> bytes:
        inside = f"{updating.ENGINE}/"
        gone = [b"D %s\n" % self._name(path) for path in base if path.startswith(inside) and path not in theirs]
        return b"".join(gone + [self._change(*item) for item in theirs.items() if item[0].startswith(inside)])

    def _change(self, path: str, file: Rendered) -> bytes:
        change = (mode(file).encode(), self._name(path), len(file.content), file.content)
        return b"M %s inline %s\ndata %d\n%s\n" % change

    def _name(self, path: str) -> bytes:
        name = (self.project.prefix + path).encode(errors="surrogateescape")
        return b'"%s"' % name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")


def _commit(mark: int, branch: str, changes: bytes) -> bytes:
    return b"commit refs/heads/%s\nmark :%d\ncommitter x <> 0 +0000\ndata 0\n%s\n" % (branch.encode(), mark, changes)


def _in_emptied_folders(
    scratch: Scratch, base: Mapping[str, Rendered], theirs: Mapping[str, Rendered], ignore: Path
) -> set[str]:
    """Return what the template adds to folders of which the project has deleted every file."""
    before, after = ({scratch.project.prefix + path for path in side} for side in (base, theirs))
    renames = ("diff-tree", "-r", "-z", "--name-only", "--find-renames", "--diff-filter=D")
    deleted = set(items(scratch.git(*renames, "base", "ours")))
    return set(updating.in_emptied_folders(after - before, before, deleted, ignore))


def _why(scratch: Scratch, tree: str, path: str, found: set[str]) -> str:
    """Say why a person has to settle a file, in the words of `updating`."""
    listed = scratch.git("ls-tree", "-z", tree, "--", path).split()
    content = scratch.git("cat-file", "blob", listed[2].decode()) if listed and listed[1] == b"blob" else b""
    return updating.why(content, found)
