"""How this project compiles numba kernels: where they are cached, and which liberties the compiler has.

Every kernel stands at module level (one made inside a function is compiled again at each start), releases the GIL
(threads share work through `engine.render.threads`, so no numba threading layer is loaded and several renders may
run at once) and is cached in the user's folder, because the engine's own may be read-only.
"""

from __future__ import annotations

import os
from typing import Any

import numba

from engine.assets.registry import user_cache
from engine.core.errors import SoliloquyError


def _cache_in_users_folder() -> None:
    """Point numba at the user's cache unless NUMBA_CACHE_DIR says otherwise; without one it compiles at each start."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    try:
        folder = user_cache() / "numba"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, SoliloquyError):
        return
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]


_cache_in_users_folder()

# `strict` keeps the meaning of NaN and infinity: a Gaussian with one is recognised and dropped there.
# `fast` may assume there are none; only kernels behind that check use it.
_LIBERTIES: Any = {"nsz", "arcp", "contract", "afn", "reassoc"}
_COMMON: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

strict = numba.njit(fastmath=_LIBERTIES, **_COMMON)
fast = numba.njit(fastmath=_LIBERTIES | {"nnan", "ninf"}, **_COMMON)
