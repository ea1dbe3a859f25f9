// Calls the real @vercel/sdk as told on standard input, and tells on standard output what it gave:
// { folder, server, token, calls: [{ operation, request }] } -> [{ value } or { error }].
// Bytes travel as { base64 }; a request's bytes may also be { base64, stream: true }.

import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const { folder, server, token, calls } = JSON.parse(await text(process.stdin));

// What `new Vercel(…).artifacts` is, without the two seconds that loading all of Vercel's API takes.
// The package is not installed beside this file, so a plain import would not find it.
const require = createRequire(join(folder, "package.json"));
const { Artifacts } = await import(pathToFileURL(require.resolve("@vercel/sdk/sdk/artifacts.js")));
const artifacts = new Artifacts({ bearerToken: token, serverURL: server });

function decoded(request) {
  const body = request.requestBody;
  if (body?.base64 === undefined) return request;
  const bytes = new Uint8Array(Buffer.from(body.base64, "base64"));
  return { ...request, requestBody: body.stream ? new Blob([bytes]).stream() : bytes };
}

async function encoded(value) {
  if (!(value instanceof ReadableStream)) return value ?? null;
  const bytes = await new Response(value).arrayBuffer();
  return { base64: Buffer.from(bytes).toString("base64") };
}

async function outcome({ operation, request }) {
  try {
    return { value: await encoded(await artifacts[operation](decoded(request))) };
  } catch (error) {
    const { name, message, statusCode, body } = error;
    return { error: { name, message, statusCode, body } };
  }
}

const outcomes = [];
for (const call of calls) outcomes.push(await outcome(call));
process.stdout.write(JSON.stringify(outcomes));
