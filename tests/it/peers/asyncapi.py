"""Holds a document against a JSON schema; says OK, or what is wrong."""
import json
import sys

import jsonschema

schema, document = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
jsonschema.Draft7Validator(schema).validate(document)
print("OK")
