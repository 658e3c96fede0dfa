"""What the tester of tests/it/peers/documents.rs must be told: tus has a media type of its own for bytes, which are bytes all the same."""
import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
