"""Who has signed a release: its tag is verified by the keys that the project was made with.

A project's engine/SIGNERS names the keys. It came with the release that the project has, and a newer one brings its
own: whoever can push to the template's repository, and has no key, cannot bring a release into projects. Where the file
names nobody, nothing can be verified; that is said, and the update goes on: it comes as a branch that a person reviews.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .git import git
from .refusal import Refused
from .sources import address

SIGNERS = "engine/SIGNERS"
HINT = (
    "Ask its maintainers before you take it. Verifying wants git 2.34 and OpenSSH 8.2 (ssh-keygen) on this machine; "
    f"whoever trusts the release without it takes the lines out of {SIGNERS}, and commits that."
)


def names_signers(project: Path) -> bool:
    """Tell whether a project says who signs the template's releases."""
    file = project / SIGNERS
    if not file.is_file():
        return False
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)


def verify(project: Path, source: str, tag: str) -> bool:
    """Verify who has signed a release; False: the project does not say who may.

    Args:
        project: its folder.
        source: the template's address.
        tag: of the release.

    Raises:
        Refused: it is signed by nobody, by somebody else, under another name, or cannot be verified here.
    """
    if not names_signers(project):
        return False
    reference = f"refs/tags/{tag}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        git(place, "init", "--quiet", "--bare", "--template=")
        git(place, "fetch", "--quiet", "--depth=1", "--no-tags", "--", address(source), f"+{reference}:{reference}")
        # The signature is about the name inside: a tag that was moved to an older one's content has the older name.
        is_tag = git(place, "cat-file", "-t", reference) == "tag"
        lines = git(place, "cat-file", "tag", reference).splitlines() if is_tag else []
        if f"tag {tag}" not in lines[:4]:
            raise Refused(f"The release {tag} of {source} is not signed: it is no tag of that name.", HINT)
        settings = (
            *("-c", "gpg.format=ssh", "-c", "gpg.ssh.program=ssh-keygen", "-c", "gpg.minTrustLevel=undefined"),
            *("-c", f"gpg.ssh.allowedSignersFile={(project / SIGNERS).resolve()}"),
        )
        try:
            git(place, *settings, "verify-tag", tag)
        except Refused as error:
            message = f"The release {tag} of {source} is not signed by one of {SIGNERS}. {error.message}"
            raise Refused(message, HINT) from None
    return True
