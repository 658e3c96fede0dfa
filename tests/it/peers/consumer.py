"""A listener that knows RabbitMQ and the README's lines on events, and nothing of Longshore. `bind` makes a queue for everything that
happens to jobs of a kind; `read` prints what came about one job, in the order it came, up to its end."""
import json
import sys

import pika

what, url, queue, about = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
if what == "bind":
    channel.queue_declare(queue)
    channel.queue_bind(queue, "longshore.events", f"job.{about}.*")
else:
    told = []
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=60):
        if method is None:
            sys.exit(f"nothing more came after {told}")
        event = json.loads(body)
        if event["subject"] != about:
            continue
        assert properties.message_id == event["id"], (properties, event)
        assert method.routing_key == f"job.{event['data']['kind']}.{event['data']['event']}", method
        told.append(event)
        if event["data"]["state"] in ("completed", "failed", "canceled"):
            break
    print(json.dumps(told))
