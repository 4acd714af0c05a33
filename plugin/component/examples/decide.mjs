// Decides calls as the proxy does, for a token service or a CI job: `node decide.mjs step_up_component.wasm requests.json`.
// Prints a line of JSON for each. Runs in a folder with the packages of package.json.
import { webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { transpile, writeFiles } from '@bytecodealliance/jco-transpile';

const [component, table] = process.argv.slice(2);
const { now, policy, tokens, requests } = JSON.parse(await readFile(table, 'utf8'));

// The component becomes a module of JavaScript. A project does that once, when it is built.
const { files } = await transpile(component, { name: 'decision', outDir: 'transpiled' });
await writeFiles(files);
const { gates } = await import(pathToFileURL('transpiled/decision.js'));

const bytes = (text) => new TextEncoder().encode(text);
const time = BigInt(now); // here it stands still; else BigInt(Date.now())
const [high, low] = webcrypto.getRandomValues(new BigUint64Array(2));
// Throws all faults of a policy that is wrong.
const gate = gates.Gate.load(JSON.stringify(policy), [], [high, low], time);

function decide(stream, token, body) {
  const headers = {
    ':method': 'POST',
    ':path': '/mcp',
    ':authority': 'mcp.example.com',
    'content-type': 'application/json',
    'mcp-protocol-version': '2025-11-25',
    authorization: `Bearer ${token}`,
  };
  const head = {
    stream,
    headers: Object.entries(headers).map(([name, value]) => ({ name: bytes(name), value: bytes(value) })),
    tokenRemoved: false,
    endOfStream: false,
  };
  gate.handle({ tag: 'head', val: head }, time);
  gate.handle({ tag: 'body', val: { stream, bytes: { tag: 'ok', val: bytes(body) } } }, time);
  const effects = gate.poll();
  gate.handle({ tag: 'gone', val: stream }, time);
  gate.poll(); // what is left to say of it: nothing that decides

  const of = (tag) => effects.find((effect) => effect.tag === tag)?.val;
  const released = of('continue') !== undefined;
  // Nothing is decided before the token service has answered this call.
  if (of('call')) return { verdict: 'elevate', reason: `asks ${of('call').cluster}`, released };
  const { verdict, reason } = of('audit');
  return { verdict, reason, released };
}

for (const [stream, { name, token, body }] of requests.entries()) {
  console.log(JSON.stringify({ name, ...decide(stream, tokens[token], body) }));
}
