"""A listener that knows RabbitMQ and the README's lines on events, and nothing of Longshore. `bind` makes a queue for everything that
happens to jobs of a kind; `read` prints what came about one job, in the order it came, up to its end. Each is read by the official
CloudEvents library as well, which knows as much of us."""
import json
import sys

import pika
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event


def read_by_the_library(properties, body, event):
    read = from_amqp_event(AMQPMessage({"content-type": properties.content_type}, {}, body))
    said = {name: value for name, value in event.items() if name not in ("data", "time")}
    known = dict(read.get_attributes())
    assert known.pop("time").isoformat()[:19] == event["time"][:19], (known, event)
    assert known == said and read.get_data() == event["data"], (known, said)


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
        read_by_the_library(properties, body, event)
        told.append(event)
        if event["data"]["state"] in ("completed", "failed", "canceled"):
            break
    print(json.dumps(told))
