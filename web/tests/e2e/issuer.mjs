// Turns a port into an issuer of OpenID Connect, where whoever comes chooses a name and goes back with a code.
import { createHash, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';

const CLIENT = 'myriad';

/** Starts one; `names` are those that its page offers. */
export async function issuer(...names) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = createPublicKey(privateKey).export({ format: 'jwk' });
  const codes = new Map();
  let away = false;
  const server = createServer((request, response) => {
    const url = new URL(request.url, address);
    if (away) return response.destroy();
    const json = (status, value) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (url.pathname === '/.well-known/openid-configuration')
      json(200, {
        issuer: address,
        authorization_endpoint: `${address}/authorize`,
        token_endpoint: `${address}/token`,
        jwks_uri: `${address}/jwks`,
      });
    else if (url.pathname === '/jwks') json(200, { keys: [{ ...key, kid: 'one', alg: 'ES256' }] });
    else if (url.pathname === '/authorize') {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(chooser(url.searchParams, names));
    } else if (url.pathname === '/choose') {
      const back = new URL(url.searchParams.get('redirect_uri'));
      const name = url.searchParams.get('name');
      const code = `code-${codes.size}`;
      codes.set(code, { name, asked: url.searchParams });
      if (name) back.searchParams.set('code', code);
      else back.searchParams.set('error', 'access_denied');
      back.searchParams.set('state', url.searchParams.get('state'));
      response.writeHead(302, { location: back.href });
      response.end();
    } else if (url.pathname === '/token') {
      let body = '';
      request.on('data', (piece) => (body += piece));
      request.on('end', () => {
        const form = new URLSearchParams(body);
        const { name, asked } = codes.get(form.get('code')) ?? {};
        codes.delete(form.get('code'));
        const challenge = createHash('sha256')
          .update(form.get('code_verifier'))
          .digest('base64url');
        if (!asked || asked.get('code_challenge') !== challenge || form.get('client_id') !== CLIENT)
          return json(400, { error: 'invalid_grant' });
        return json(200, { id_token: token(privateKey, address, name, asked.get('nonce')) });
      });
    } else if (url.pathname === '/favicon.ico') json(200, {});
    else json(404, {});
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  // The harness takes the first address of digits that a server tells for its own.
  const address = `http://localhost:${server.address().port}`;
  const stop = () => new Promise((resolve) => server.close(resolve));
  const leave = (gone) => (away = gone);
  return { address, stop, leave, flags: ['--oidc-issuer', address, '--oidc-client-id', CLIENT] };
}

/** A page with a link for each name, and one for nobody. */
function chooser(asked, names) {
  const links = [...names, ''].map((name) => {
    const query = new URLSearchParams(asked);
    query.set('name', name);
    return `<p><a href="/choose?${query.toString().replaceAll('&', '&amp;')}">${name || 'No'}</a></p>`;
  });
  return `<!doctype html><html lang="en"><title>Who?</title><h1>Who are you?</h1>${links.join('')}</html>`;
}

function token(key, issuer, name, nonce) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer,
    sub: `id-of-${name}`,
    aud: CLIENT,
    exp: now + 60,
    iat: now,
    nonce,
    preferred_username: name.toLowerCase(),
    name,
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'ES256', kid: 'one' })}.${part(claims)}`;
  const signature = sign('sha256', signed, { key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}
