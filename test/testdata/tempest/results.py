"""Reads a stream of subunit v2 and writes a line of JSON for each test that ends."""
import json
import sys

import subunit
import testtools


def tell(test):
    if test["status"] == "exists":
        return
    texts = {name: content.as_text() for name, content in test["details"].items()
             if content.content_type.type == "text"}
    began, ended = test["timestamps"]
    print(json.dumps({"id": test["id"], "status": test["status"], "reason": texts.get("reason", ""),
                      "traceback": texts.get("traceback", ""), "log": texts.get("pythonlogging:''", ""),
                      "seconds": (ended - began).total_seconds() if began and ended else 0}), flush=True)


result = testtools.StreamToDict(tell)
result.startTestRun()
subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
result.stopTestRun()
