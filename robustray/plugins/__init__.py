"""Parts from outside this package: files and modules that a YAML file names, each known by its content.

A plugin is code. It runs since the user names it: in the list `plugins` of the YAML file that he runs, on a command line, or by
installing it (entry points, `registry.py`). Folders of results name plugins too, as a mapping of names to SHA-256, and hold
copies of the files; what such a folder names runs only where this user has named the same content before, on this machine, or
says --trust-plugins. A folder that came from somebody else runs nothing unasked.
"""

from robustray.plugins.loading import Loaded, arrived, files, function, loaded, travelling
from robustray.plugins.naming import Names, Plugins, in_document, keep, named, recorded
from robustray.plugins.sources import place_of
from robustray.plugins.trust import FLAG, demand_parent, trust_everything, trust_parent, trusts

__all__ = [
    "FLAG",
    "Loaded",
    "Names",
    "Plugins",
    "arrived",
    "demand_parent",
    "files",
    "function",
    "in_document",
    "keep",
    "loaded",
    "named",
    "place_of",
    "recorded",
    "travelling",
    "trust_everything",
    "trust_parent",
    "trusts",
]
