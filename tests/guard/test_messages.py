"""The messages that docs/messages.md quotes are the code's."""

import re

import pytest
from literals import literals
from run_tools import PROJECT

PAGE = (PROJECT / "docs" / "messages.md").read_text(encoding="utf-8")
QUOTES = [quote.replace("\\|", "|") for quote in re.findall(r"^\| `((?:[^`])+)` \|", PAGE, re.M)]


@pytest.fixture(scope="module")
def texts():
    return [*literals()]


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_is_one_of_the_code(quote, texts):
    assert any(quote in text for text in texts), f"no text of the code contains: {quote}"


def test_the_quotes_are_found(texts):
    assert len(QUOTES) > 35
    assert not any("the loss is not fine at iteration" in text for text in texts)
