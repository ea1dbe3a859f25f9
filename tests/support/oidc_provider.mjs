// A real OpenID Connect provider, told by its one argument what to be:
// { folder, port, clientId, clientSecret, redirectUris }. It lives as long as its standard input.
//
// Whoever signs in as `dora` is dora@example.com; a login with an @ is itself the address. Those
// whose login begins with `unverified-` have an address which nobody verified. Nobody is asked for
// consent. Its signing key is new at each start.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const { folder, port, clientId, clientSecret, redirectUris } = JSON.parse(process.argv[2]);

// The package is not installed beside this file, so a plain import would not find it.
const require = createRequire(join(folder, "package.json"));
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
  conformIdTokenClaims: false, // they are in the ID token, not only at the userinfo endpoint
  cookies: { keys: [randomBytes(16).toString("hex")] },
  features: { devInteractions: { enabled: false } }, // its pages ask the internet for a font
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
  await provider.interactionDetails(request, response); // throws when it is nobody's or over
  if (request.method !== "POST") {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(PAGE);
    return;
  }
  const form = new URLSearchParams(await text(request));
  const result =
    form.get("answer") === "cancel"
      ? { error: "access_denied", error_description: "the person said no" }
      : { login: { accountId: form.get("login") } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const answer = provider.callback();

createServer((request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  return interact(request, response).catch((error) => {
    console.error(error);
    response.writeHead(400, { "content-type": "text/plain" }).end(String(error));
  });
}).listen(port, "127.0.0.1");

process.stdin.on("end", () => process.exit()).resume();
