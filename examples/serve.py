"""A small web service that predicts rows: it loads a folder of `lamp train` once, and answers JSON with JSON.

    pip install -e ".[tables]" && python examples/serve.py customers-model --port 8000

    curl localhost:8000                                             # the columns that rows need
    curl localhost:8000/predict -d '[{"age": 41, "city": "Bern"}]'  # {"predictions": [...], "notes": []}

It stands on Python's own HTTP server, with a thread per request. That is enough for colleagues on one network; on the
internet, put a server before it that knows about encryption and passwords.
"""

import argparse
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import lamp
import lamp.tables

MOST_BYTES = 16 * 2**20  # of a request


class Handler(BaseHTTPRequestHandler):
    """Answers one request. `model` is the predictor, which all threads share."""

    model: lamp.tables.TablePredictor
    timeout = 30  # seconds without a byte, after which a request is given up

    def do_GET(self):
        if self.path != "/":
            return self.answer(
                HTTPStatus.NOT_FOUND, {"error": "GET / describes the model; POST /predict predicts rows"}
            )
        model = self.model
        return self.answer(HTTPStatus.OK, {"target": model.target, "classes": model.classes, "columns": model.columns})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict":
            return self.answer(HTTPStatus.NOT_FOUND, {"error": "POST rows to /predict"})
        if not length.isdecimal():
            return self.answer(HTTPStatus.LENGTH_REQUIRED, {"error": "say how long the request is: Content-Length"})
        if int(length) > MOST_BYTES:
            return self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"at most {MOST_BYTES:,} bytes"})
        notes = []
        try:
            rows = json.loads(self.rfile.read(int(length)))
            predicted = self.model.predict([rows] if isinstance(rows, dict) else rows, notes=notes)
        except (lamp.errors.LampError, json.JSONDecodeError, UnicodeDecodeError) as error:
            return self.answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return self.answer(HTTPStatus.OK, {"predictions": predicted.to_dicts(), "notes": notes})

    def answer(self, status, document):
        """Send a document as JSON."""
        data = json.dumps(document, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def server(folder, host="127.0.0.1", port=8000):
    """The server of a folder, ready for `serve_forever()`; port 0 takes a free one."""
    handler = type("Handler", (Handler,), {"model": lamp.tables.load(folder)})
    return ThreadingHTTPServer((host, port), handler)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder that lamp train wrote")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to answer other machines too")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    with server(options.folder, options.host, options.port) as serving:
        print(f"http://{options.host}:{serving.server_port}/predict answers; Ctrl-C ends it", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
