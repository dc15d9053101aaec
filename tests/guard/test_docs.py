"""docs/config.md is what docs/write_config.py writes."""

import importlib.util

from run_tools import PROJECT


def test_the_documentation_of_the_keys_is_up_to_date():
    spec = importlib.util.spec_from_file_location("write_config", PROJECT / "docs" / "write_config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all(module.purposes().values())
    assert module.TARGET.read_text(encoding="utf-8") == module.text(), "run python docs/write_config.py"
