/** An external issuer on loopback, whose keys are fetched. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, SignJWT } from 'jose';
import { defer, type Scope } from '../system/start.ts';

export type Idp = {
  readonly uri: string;
  keys: { readonly kid: string; readonly privateKey: KeyObject; readonly publicKey: KeyObject }[];
  /** How often its keys were asked for. */
  asked: number;
  isAway: boolean;
  /** Its keys come once this has ended. */
  held: Promise<void>;
};

export const newKey = (kid: string) => ({ kid, ...generateKeyPairSync('rsa', { modulusLength: 2048 }) });

export async function startIdp(scope: Scope): Promise<Idp> {
  const idp = { uri: '', keys: [newKey('a')], asked: 0, isAway: false, held: Promise.resolve() };
  const server = createServer(async (request, response) => {
    if (idp.isAway) return void request.socket.destroy();
    response.setHeader('Content-Type', 'application/json');
    if (request.url === '/.well-known/openid-configuration')
      return void response.end(JSON.stringify({ issuer: idp.uri, jwks_uri: `${idp.uri}/keys` }));
    idp.asked++;
    await idp.held;
    const keys = await Promise.all(
      idp.keys.map(async ({ kid, publicKey }) => ({ ...(await exportJWK(publicKey)), kid, alg: 'RS256' })),
    );
    response.setHeader('Cache-Control', 'max-age=60').end(JSON.stringify({ keys }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
  defer(scope, () => server.close());
  idp.uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return idp;
}

/** From now on its keys do not come until the function returned is called. */
export function hold(idp: Idp): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  idp.held = promise;
  return resolve;
}

export const tokenOf = ({ uri, keys }: Idp, aud: string, claims: object = {}, index = 0) => {
  const { kid = '', privateKey } = keys[index] ?? {};
  return new SignJWT({ iss: uri, sub: 'job-7', aud, ...claims })
    .setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' })
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey as KeyObject);
};
