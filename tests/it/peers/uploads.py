"""Sends a file with tuspy, the reference client of tus in Python: uploads.py URL FILE STOP [RESUME]

It stops after STOP bytes, as if the machine had been shut down, and prints the address of the upload; with that as RESUME it asks where
to go on, and sends the rest. Every piece has its checksum.
"""
import json
import sys

from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed

url, path, stop = sys.argv[1], sys.argv[2], int(sys.argv[3])
resume = sys.argv[4] if len(sys.argv) > 4 else None
client = TusClient(url + "/v1/uploads")
uploader = client.uploader(
    path,
    url=resume,
    chunk_size=700_001,
    metadata={"filename": "people.csv", "filetype": "text/csv"},
    upload_checksum=True,
    retries=30,
    retry_delay=1,
)
began = uploader.offset
uploader.upload(stop_at=stop)
refused = None
if resume is not None:
    # And it sees a refusal for what it is.
    late = client.uploader(path, url=resume, chunk_size=10, retries=0)
    late.offset = 5
    try:
        late.upload_chunk()
    except TusUploadFailed as error:
        refused = error.status_code
print(json.dumps({"url": uploader.url, "began": began, "offset": uploader.offset, "refused": refused}))
