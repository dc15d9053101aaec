"""Some cases of fuzz.py, which makes more without end."""

import pytest
from fuzz import make_world, run_case


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.mark.parametrize("seed", range(60))
def test_a_case_ends_with_one_message(world, seed):
    assert not run_case(seed, world)
