"""An archive that speaks DICOMweb (PS3.18): asked by QIDO-RS, pulled from by WADO-RS."""

from cloudmig.sources.dicomweb.source import WebSource, WebSourceOptions

__all__ = ["WebSource", "WebSourceOptions"]
