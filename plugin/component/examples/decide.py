"""Decides calls as the proxy does, for a token service or a CI job; prints a line of JSON for each.

`python decide.py step_up_component.wasm requests.json`, in an environment with the packages of requirements.txt.
"""

import json
import secrets
import sys

from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

engine = Engine()
store, linker = Store(engine), Linker(engine)
store.set_wasi(WasiConfig())  # nothing is granted: of WASI it gets a seed for its maps, and an end for panics
linker.add_wasip2()
instance = linker.instantiate(store, Component.from_file(engine, sys.argv[1]))
GATES = instance.get_export_index(store, "step-up:decision/gates@0.1.0")


def ask(function, *arguments):
    index = instance.get_export_index(store, function, GATES)
    return instance.get_func(store, index)(store, *arguments)


def record(**fields):
    made = Record()
    made.__dict__.update({name.replace("_", "-"): value for name, value in fields.items()})
    return made


def decide(stream, token, body):
    headers = {
        ":method": "POST",
        ":path": "/mcp",
        ":authority": "mcp.example.com",
        "content-type": "application/json",
        "mcp-protocol-version": "2025-11-25",
        "authorization": f"Bearer {token}",
    }
    pairs = [record(name=name.encode(), value=value.encode()) for name, value in headers.items()]
    nothing = dict(server=None, source=None, certificate=None, token_removed=False, end_of_stream=False)
    ask("[method]gate.handle", gate, Variant("head", record(stream=stream, headers=pairs, **nothing)), now)
    ask("[method]gate.handle", gate, Variant("body", record(stream=stream, bytes=body.encode())), now)
    effects = {effect.tag: effect.payload for effect in ask("[method]gate.poll", gate)}
    ask("[method]gate.handle", gate, Variant("gone", stream), now)
    ask("[method]gate.poll", gate)  # what is left to say of it: nothing that decides
    released = "continue" in effects
    if "call" in effects:  # nothing is decided before the token service has answered it
        return dict(verdict="elevate", reason=f"asks {effects['call'].cluster}", released=released)
    return dict(verdict=effects["audit"].verdict, reason=effects["audit"].reason, released=released)


table = json.load(open(sys.argv[2]))
now = table["now"]  # here time stands still
gate = ask("[static]gate.load", json.dumps(table["policy"]), [], (secrets.randbits(64), secrets.randbits(64)), now)
if isinstance(gate, list):
    sys.exit("\n".join(f"{fault.path}: {fault.problem}; {fault.help}" for fault in gate))
for stream, request in enumerate(table["requests"]):
    print(json.dumps(dict(name=request["name"], **decide(stream, table["tokens"][request["token"]], request["body"]))))
