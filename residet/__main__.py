"""`python -m residet`: the command `residet`, also in a checkout that is not installed."""

import runpy
import sys
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[1]
_TOOLS = next(folder for folder in (_BESIDE / "residet_tools", _BESIDE / "tools") if folder.is_dir())

if __name__ == "__main__":
    sys.path.insert(0, str(_TOOLS))
    runpy.run_path(str(_TOOLS / "command.py"), run_name="__main__")
