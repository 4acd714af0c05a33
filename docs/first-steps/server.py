"""An MCP server as one may have it: no token, no rules, two tools. Nothing but Python's own library."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTES = {"1": "buy milk"}
TOOLS = [
    {"name": "get_note", "description": "Reads a note.", "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}}},
    {"name": "delete_note", "description": "Deletes a note.", "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}}},
]


def call(name, arguments):
    note = arguments.get("id", "1")
    text = NOTES.get(note, "no such note") if name == "get_note" else f"deleted: {NOTES.pop(note, 'nothing')}"
    return {"content": [{"type": "text", "text": text}]}


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        params = message.get("params", {})
        result = {
            "initialize": lambda: {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "notes", "version": "1"},
            },
            "tools/list": lambda: {"tools": TOOLS},
            "tools/call": lambda: call(params["name"], params.get("arguments", {})),
            "ping": dict,
        }.get(message["method"])
        if "id" not in message:
            self.answer(202, b"")
        elif result is None:
            error = {"code": -32601, "message": "method not found"}
            self.answer(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode())
        else:
            self.answer(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result()}).encode())

    def do_GET(self):
        self.answer(405, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
