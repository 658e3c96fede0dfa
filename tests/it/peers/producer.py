"""A producer that knows RabbitMQ and the README's table, and nothing of Longshore: publishes one job and ends when a queue has it."""
import sys
import time

import pika

url, kind, message_id, payload = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.confirm_delivery()
properties = pika.BasicProperties(content_type="application/json", type=kind, message_id=message_id)
deadline = time.monotonic() + 60
while True:
    try:
        channel.basic_publish("longshore.jobs", kind, payload, properties, mandatory=True)
        break
    except pika.exceptions.UnroutableError:  # no worker has run the kind yet
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
