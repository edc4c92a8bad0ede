"""The contender `dicomweb-client`: its `store_instances`, one call a study, files read by pydicom.

Prints how many of its seconds went into reading.

Usage: stow_client.py URL STUDY_FOLDER ...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

url, *study_folders = sys.argv[1:]
client = DICOMwebClient(url)
read_s = 0.0
for study_folder in study_folders:
    started = time.perf_counter()
    images = [dcmread(path) for path in sorted(Path(study_folder).glob("*.dcm"))]
    read_s += time.perf_counter() - started
    client.store_instances(images, study_instance_uid=images[0].StudyInstanceUID)
print(read_s)
