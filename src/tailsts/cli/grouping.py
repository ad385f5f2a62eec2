"""How options that belong together reach their command: as one value."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def as_one(name: str, options: Sequence[Decorator], gather: Callable[..., object]) -> Decorator:
    """Give a command these options, as one argument `name`: what `gather`, which names them all, makes of them."""
    names = tuple(inspect.signature(gather).parameters)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(**given: object) -> object:
            own = {option: given.pop(option) for option in names}
            return command(**given, **{name: gather(**own)})

        decorated: Callable[..., Any] = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
