"""A caller in Python: uploads, submits, follows, waits, and is refused; and is sent elsewhere by whoever is at `mover`.
Prints what it was told."""
import json
import sys

from longshore import Client, Refused

url, kind, payload, mover = sys.argv[1:]
jobs = Client(url)
file = jobs.upload("people.csv", b"id,email\n1,ada@example.org\n2,bob@example.org\n")
wanted = {"source": {"file": file["id"]}, **json.loads(payload)}
job = jobs.submit(kind, wanted, idempotency_key="python-1")
again = jobs.submit(kind, wanted, idempotency_key="python-1")
told = [event["data"]["event"] for event in jobs.events(job["id"]) if event["data"]["event"] != "progressed"]
try:
    jobs.submit("no.such.kind", {})
    refused = None
except Refused as error:
    refused = {"status": error.status, "pointer": error.problem["errors"][0]["pointer"]}
end = jobs.wait(job["id"])
moved = Client(mover, "a-secret")
sent_on = []
for call in (lambda: moved.submit("no.such.kind", {}), lambda: moved.job("x"), lambda: list(moved.events("x"))):
    try:
        sent_on.append(str(call()))
    except Refused as error:
        sent_on.append(error.status)
print(json.dumps({"same": again["id"] == job["id"], "told": told, "refused": refused, "result": end["result"], "moved": sent_on}))
