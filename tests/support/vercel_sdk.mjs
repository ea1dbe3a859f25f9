// Runs calls of the real @vercel/sdk. Standard input and output are JSON:
// { packagesDir, server, token, calls: [{ operation, request }] } -> [{ value } or { error }].
// Bytes are encoded as { base64 }; bytes of a request also as { base64, stream: true }.

import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const { packagesDir, server, token, calls } = JSON.parse(await text(process.stdin));

// The same as `new Vercel(…).artifacts`, without loading all of Vercel's API, which takes two seconds.
// The package is not installed beside this file, so a plain import would not find it.
const require = createRequire(join(packagesDir, "package.json"));
const { Artifacts } = await import(pathToFileURL(require.resolve("@vercel/sdk/sdk/artifacts.js")));
const artifacts = new Artifacts({ bearerToken: token, serverURL: server });

function decodeRequest(request) {
  const body = request.requestBody;
  if (body?.base64 === undefined) return request;
  const bytes = new Uint8Array(Buffer.from(body.base64, "base64"));
  return { ...request, requestBody: body.stream ? new Blob([bytes]).stream() : bytes };
}

async function encodeValue(value) {
  if (!(value instanceof ReadableStream)) return value ?? null;
  const bytes = await new Response(value).arrayBuffer();
  return { base64: Buffer.from(bytes).toString("base64") };
}

async function run({ operation, request }) {
  try {
    return { value: await encodeValue(await artifacts[operation](decodeRequest(request))) };
  } catch (error) {
    const { name, message, statusCode, body } = error;
    return { error: { name, message, statusCode, body } };
  }
}

const outcomes = [];
for (const call of calls) outcomes.push(await run(call));
process.stdout.write(JSON.stringify(outcomes));
