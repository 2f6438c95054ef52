"""Where THUMOS14's annotations and STPN's detections are: they are not ours to pass on."""

import os
import pathlib

BESIDE = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "thumos14"


def thumos14_dir() -> pathlib.Path | None:
    """The folder that ``CPMN_THUMOS14_DIR`` names, else the one beside the repository, else None.

    Raises:
      NotADirectoryError: for a ``CPMN_THUMOS14_DIR`` that is no folder.
    """
    named = os.environ.get("CPMN_THUMOS14_DIR")
    if named and not os.path.isdir(named):
        raise NotADirectoryError(f"CPMN_THUMOS14_DIR={named} is not a folder")
    if named:
        return pathlib.Path(named)
    return BESIDE if BESIDE.is_dir() else None
