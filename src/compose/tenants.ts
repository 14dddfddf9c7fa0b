/** A further issuer in the same process, with a key ring, a policy, users and clients of its own. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createIssuer } from '../core/issuer.ts';
import type { Peer } from '../core/ports.ts';
import * as admin from '../doors/admin.ts';
import * as discovery from '../doors/discovery.ts';
import type { Door } from '../doors/door.ts';
import type { OAuthConfig } from '../doors/oauth/settings.ts';
import * as oauth from '../doors/oauth.ts';
import { open as openSigner } from '../signers/local.ts';
import type { DoorsParts } from './doors.ts';
import { cacheForSeconds, openRing, type Ring } from './keys.ts';
import { oauthContext } from './oauth.ts';
import { tenantPolicy } from './policy.ts';

type Block = { readonly oauth: OAuthConfig };

/** Its doors: OAuth, its documents, and its keys and users on the admin socket. */
export async function openTenant(
  name: string,
  parts: DoorsParts,
  peerOf: (request: IncomingMessage) => Peer,
): Promise<readonly Door[]> {
  const { loaded, clock, keys, observers } = parts;
  const { config } = loaded;
  const identifier = `${config.issuer}/${name}`;
  const { oauth: block } = config.issuers[name] as unknown as Block;
  const { policy } = tenantPolicy(config, name, {
    ...parts.attestor,
    constants: { host: config.host },
  });
  const ring = await openRing({
    identifier,
    document: `ring-${name}`,
    store: keys.store,
    config,
    clock,
    policy: () => policy,
    demands: oauth.demands(block, identifier),
    onFault: observers.storeFault,
    onRing: (changed) => observers.ringChanged(changed, identifier),
  });
  try {
    const { live } = ring;
    const signer = openSigner({ ring: () => live.current, assertFresh: () => live.assertFresh() });
    const { recorder } = observers;
    const own = { identifier, keys: () => live.current.keys };
    const attestor = parts.attestor.as?.(own) ?? parts.attestor;
    const issuer = createIssuer({
      ...{ identifier, attestor, signer, recorder, clock },
      policy: () => policy,
      createTokenId: randomUUID,
    });
    const context = { ...oauthContext({ ...parts, attestor, live, store: keys.store, issuer }), peerOf };
    const opened = await oauth.open(block, context);
    const close = async () => {
      await ring.close();
      await signer.close();
    };
    return [
      ...opened.map(below(name)),
      { ...documents(parts, identifier, ring), close },
      below(name)(keysDoor(parts, ring)),
    ];
  } catch (error) {
    await ring.close();
    throw error;
  }
}

function documents({ loaded, observers }: DoorsParts, issuer: string, ring: Ring): Door {
  return discovery.open({
    issuer,
    documents: ring.documents,
    cacheForSeconds: cacheForSeconds(loaded.config),
    onJwks: observers.jwksAnswered,
  });
}

function keysDoor({ loaded, caCertificate }: DoorsParts, ring: Ring): Door {
  return admin.open({
    ...ring,
    keys: () => ring.live.current.keys,
    now: () => ring.live.now(),
    settings: () => ({ ...ring.settings(), cacheForSeconds: cacheForSeconds(loaded.config) }),
    caCertificate: () => caCertificate('public'),
  });
}

/** On the admin socket, `/v1/keys` of a further issuer is `/v1/issuers/NAME/keys`. */
function below(name: string): (door: Door) => Door {
  return (door) =>
    door.surface === 'admin'
      ? {
          ...door,
          routes: door.routes.map((route) => ({
            ...route,
            path: route.path.replace(/^\/v1\//, `/v1/issuers/${name}/`),
          })),
        }
      : door;
}
