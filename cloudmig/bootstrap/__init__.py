"""Puts an agent together: the only package that names concrete sources and destinations.

What opens the catalog alone imports no protocol: `cloudmig status` shall answer at once.
"""

from cloudmig.bootstrap.opening import open_agent, open_catalog_only, open_copies
from cloudmig.pipeline.parts import Parts

__all__ = ["Parts", "open_agent", "open_catalog_only", "open_copies"]
