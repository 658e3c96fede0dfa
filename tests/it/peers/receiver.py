"""Verifies webhooks with the reference library of Standard Webhooks: receiver.py SECRET FILE

FILE holds one JSON object a line: the headers of a request, and its body. It prints how many were believed.
"""
import json
import sys

from standardwebhooks import Webhook

webhook = Webhook(sys.argv[1])
with open(sys.argv[2], encoding="utf-8") as lines:
    requests = [json.loads(line) for line in lines]
for request in requests:
    webhook.verify(request["body"], request["headers"])
print(len(requests))
