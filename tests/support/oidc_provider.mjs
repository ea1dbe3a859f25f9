// A real OpenID Connect provider. Its argument is a JSON object:
// { packagesDir, port, clientId, clientSecret, redirectUris }. It exits when its stdin is closed.
//
// The login `dora` has the address dora@example.com; a login with an @ is itself the address. The
// address of a login that begins with `unverified-` is not verified. There is no consent page.
// Each start creates a new signing key.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const { packagesDir, port, clientId, clientSecret, redirectUris } = JSON.parse(process.argv[2]);

// The package is not installed next to this file, so a plain import would not find it.
const require = createRequire(join(packagesDir, "package.json"));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

function claims(login) {
  return {
    sub: login,
    email: login.includes("@") ? login : `${login}@example.com`,
    email_verified: !login.startsWith("unverified-"),
    name: login[0].toUpperCase() + login.slice(1).split("@")[0],
  };
}

function signingKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const kid = randomBytes(8).toString("hex");
  return { ...privateKey.export({ format: "jwk" }), kid, alg: "RS256", use: "sig" };
}

async function grantAll({ oidc }) {
  const grant = new oidc.provider.Grant({
    accountId: oidc.session.accountId,
    clientId: oidc.client.clientId,
  });
  grant.addOIDCScope([...oidc.requestParamScopes].join(" "));
  await grant.save();
  return grant;
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    { client_id: clientId, client_secret: clientSecret, redirect_uris: redirectUris },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false, // include the claims in the ID token
  cookies: { keys: [randomBytes(16).toString("hex")] },
  features: { devInteractions: { enabled: false } }, // its pages load a font from the internet
  findAccount: (_, login) => ({ accountId: login, claims: () => claims(login) }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  jwks: { keys: [signingKey()] },
  loadExistingGrant: grantAll,
  pkce: { required: () => true },
  renderError: (ctx, { error, error_description }) => {
    ctx.type = "text";
    ctx.body = `${error}: ${error_description}`;
  },
  ttl: { AccessToken: 600, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
});

const PAGE = `<!doctype html>
<html lang="en">
  <title>Sign in at the provider</title>
  <link rel="icon" href="data:,">
  <main>
    <h1>Sign in at the provider</h1>
    <form method="post">
      <label>Login <input name="login"></label>
      <button name="answer" value="sign in">Sign in</button>
      <button name="answer" value="cancel">Cancel</button>
    </form>
  </main>
</html>`;

async function interact(request, response) {
  await provider.interactionDetails(request, response); // throws if it is unknown or expired
  if (request.method !== "POST") {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(PAGE);
    return;
  }
  const form = new URLSearchParams(await text(request));
  const result =
    form.get("answer") === "cancel"
      ? { error: "access_denied", error_description: "cancelled by the user" }
      : { login: { accountId: form.get("login") } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const handleRequest = provider.callback();

createServer((request, response) => {
  if (!request.url.startsWith("/interaction/")) return handleRequest(request, response);
  return interact(request, response).catch((error) => {
    console.error(error);
    response.writeHead(400, { "content-type": "text/plain" }).end(String(error));
  });
}).listen(port, "127.0.0.1");

process.stdin.on("end", () => process.exit()).resume();
