"""Pretrained speech models by name: a folder of the user's, or a hub id in the local cache.

Nothing is fetched unless the person asked for it in this very call.
"""

from __future__ import annotations

import re
from pathlib import Path

from engine.core.errors import BadFile, Missing

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin"]


def is_hub_id(name: str) -> bool:
    """Whether a name has the form owner/model of the hub."""
    return bool(_ID.fullmatch(name)) and not name.endswith((".safetensors", ".npz"))


def folder_of(name: str, download: bool = False) -> Path:
    """The folder of a model: `name` itself if it exists, else the cached hub model of that id.

    download: whether a model that is not cached may be fetched. Raises BadFile, Missing.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not is_hub_id(name):
        raise BadFile(name, "no such speech encoder; give a folder with config.json, a .safetensors or a hub id")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_FILES, local_files_only=not download))
    except LocalEntryNotFoundError:
        if download:
            raise Missing(f"the speech model '{name}' could not be fetched: the hub cannot be reached") from None
        raise Missing(
            f"the speech model '{name}' is not on this computer; give the folder that holds it, or allow the download "
            "(--download on the command line, a switch in the add-on's preferences)"
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Missing(f"the speech model '{name}' could not be fetched ({first[:160]})") from None
