"""The exception tree is the one that its documentation draws."""

from __future__ import annotations

import inspect
import re

from stdvid import errors
from stdvid.errors import StdvidError

DRAWN = re.compile(r"^(?P<stem> {4,}(?:\|   )*(?:[|`]-- )?)(?P<name>\w+) +(?P<code>\d+)   \w", re.MULTILINE)


def drawn() -> dict[str, tuple[int, int]]:
    """name: (depth, exit code) of the tree in the module's docstring."""
    found = DRAWN.finditer(errors.__doc__ or "")
    return {match["name"]: ((len(match["stem"]) - 4) // 4, int(match["code"])) for match in found}


def defined() -> dict[str, type[StdvidError]]:
    return {name: cls for name, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__}


def test_every_class_is_drawn_at_its_place_with_its_exit_code() -> None:
    classes = defined()
    tree = {name: (len(cls.__mro__) - len(StdvidError.__mro__), cls.exit_code) for name, cls in classes.items()}
    assert drawn() == tree
    assert len(tree) == 11


def test_one_except_clause_catches_all_and_nothing_foreign() -> None:
    assert all(issubclass(cls, StdvidError) for cls in defined().values())
    assert not issubclass(StdvidError, OSError | ValueError)
    assert not any(cls.exit_code == 0 for cls in defined().values())


def test_a_message_is_what_was_said() -> None:
    for cls in defined().values():
        assert str(cls("what was found; what is allowed; what to do")) == "what was found; what is allowed; what to do"
        assert cls.__doc__
