"""Reads what valgrind's callgrind wrote: instructions of functions, calls between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

#: Functions that take memory: the C library's, and those by which Rust asks mimalloc.
ALLOCATORS = ("malloc", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc",
              "mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned")
#: What begins the names of mimalloc's functions.
MIMALLOC = ("mi_", "_mi_")
#: Callers that are told with an allocation, the nearest first.
CALLERS = 12
#: Functions between an allocation and whoever wanted it that say nothing.
PLUMBING = re.compile(r"alloc::raw_vec|alloc::alloc::|finish_grow|__rust_|_rdl_|tokio::|call_once|start_thread|thread_start|^clone$")


class Profile:
    """One dump, or what one has more than another: differences of counts are counts, too."""

    def __init__(self) -> None:
        #: Instructions of each function, without those of what it calls.
        self.own: Counter[str] = Counter()
        #: With what it calls, but for calls of itself.
        self.inclusive: Counter[str] = Counter()
        #: Calls of allocators, by chain of callers.
        self.allocations: Counter[str] = Counter()

    @property
    def instructions(self) -> int:
        return sum(self.own.values())

    def minus(self, other: Profile) -> Profile:
        """What this one has more."""
        more = Profile()
        for name in ("own", "inclusive", "allocations"):
            counts = getattr(more, name)
            counts.update(getattr(self, name))
            counts.subtract(getattr(other, name))
        return more


def separate_callers() -> list[str]:
    """Options by which dumps tell who called the allocators."""
    return [f"--separate-callers{CALLERS}={name}" for name in ALLOCATORS]


def read(lines: Iterable[str]) -> Profile:
    """Reads a dump. Its lines: `fn=` names the function whose costs follow, `calls=` announces that the next line is
    the cost of what was called, `(7) name` gives a number to a name, `(7)` stands for it from then on."""
    profile = Profile()
    names: dict[str, str] = {}
    function, callee, calls = "", "", None

    def named(text: str) -> str:
        number, _, name = text.partition(" ")
        return names.setdefault(number, name) if name else names.get(number, number)

    for line in lines:
        if line[:1] in "+-*0123456789" and line.strip():
            cost = int(line.split()[1])
            if calls is None:
                profile.own[function] += cost
            else:
                if is_allocator(callee) and not is_within(function):
                    profile.allocations[callee] += calls
                calls = None
                if plain(callee) == plain(function):
                    continue
            profile.inclusive[function] += cost
        elif line.startswith("fn="):
            function = named(line[3:].rstrip("\n"))
        elif line.startswith("cfn="):
            callee = named(line[4:].rstrip("\n"))
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
    return profile


def plain(name: str) -> str:
    """A function's name without its callers, and without the depth of a recursion."""
    return name.split("'")[0]


def is_allocator(name: str) -> bool:
    return plain(name).split("@")[0] in ALLOCATORS


def is_within(name: str) -> bool:
    """Whether a function is an allocator's own, which calls others of it."""
    return is_allocator(name) or plain(name).startswith(MIMALLOC)


def shorten(chain: str, most: int = 5) -> str:
    """A chain of callers for people: who took memory, and for whom."""
    allocator, *callers = chain.split("'")
    telling = [caller.replace("apogee_", "") for caller in callers if not PLUMBING.search(caller)]
    return " < ".join([allocator, *telling[:most]])
