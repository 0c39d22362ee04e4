# Two places: the code, which lies where this file does, and the working folder, which gets the
# results. Nothing else in the rules depends on where the code lies.

import os
import sys
import tarfile
import tempfile
from subprocess import check_output


def unpacked(source):
    """The code of a module that a git repository holds: one commit, unpacked once."""
    repository = getattr(source, "repo_path", None) or source.hosted_repo.repo_clone
    git = ["git", "-C", str(repository)]
    commit = check_output([*git, "rev-parse", f"{source.ref}^{{commit}}"], text=True).strip()
    folder = Path(".snakemake/abspos", commit).absolute()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            archive = Path(partial, "code.tar")
            check_output([*git, "archive", f"--output={archive}", commit])
            with tarfile.open(archive) as packed:
                packed.extractall(Path(partial, "code"), filter="data")
            Path(partial, "code").rename(folder)
    return folder


HERE = workflow.current_basedir
if hasattr(HERE, "ref"):
    ROOT = unpacked(HERE)
else:
    ROOT = Path(os.path.normpath(HERE.get_path_or_uri(secret_free=True))).parents[1]

# Jobs, on this machine or a cluster's, import the library from there.
SOURCE = str(ROOT / "src")
sys.path.insert(0, SOURCE)
os.environ.update(PYTHONPATH=SOURCE)

from abspos.study.files import base_config

CONFIGFILE = str(base_config(Path(), ROOT))
