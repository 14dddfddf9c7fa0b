/** What the provider says of the clients of a configuration, without a key, a store or a file. */
import { generateKeyPairSync } from 'node:crypto';
import { hashSecret } from '../../core/client-secrets.ts';
import { openEngine, refusedClients } from './engine.ts';
import type { Mistake } from './mistakes.ts';
import type { EngineParts } from './parts.ts';
import type { OAuthConfig } from './settings.ts';

/** `mistakes.ts` tells of the files. */
export async function findRefused(block: OAuthConfig, issuer: string): Promise<readonly Mistake[]> {
  const clients = block.clients.map((client) =>
    client.secretFile === undefined
      ? client
      : { ...client, secretFile: undefined, secrets: [hashSecret(client.id)] },
  );
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keys = [{ keyId: 'check', algorithm: 'RS256', state: 'active', privateKey }];
  // The provider is asked of what it was made with, and never runs.
  const parts = {
    config: { ...block, clients, registration: undefined },
    issuer: { identifier: issuer },
    records: {},
    ring: () => ring,
    secret: Buffer.alloc(32),
    audit: {},
    warn: () => undefined,
    isTrusted: true,
  } as unknown as EngineParts;
  const ring = { keys };
  const { engine } = await openEngine(parts);
  const refused = await refusedClients(engine);
  return refused.map(({ index, reason }) => ({ path: `clients[${index}]`, message: reason }));
}
