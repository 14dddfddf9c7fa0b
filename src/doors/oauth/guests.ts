/** Clients that another door registers and looks after: the provider knows them like those of its own adapter. */
import type { Adapter, AdapterPayload, ClientMetadata } from 'oidc-provider';
import type { Guest, Guests } from '../oauth-server.ts';
import { provenName } from './clients.ts';

/** What a client_id is made of (RFC 6749 appendix A.1), and no record's id is longer. */
const ID = /^[\x20-\x7E]{1,255}$/;

/** Those of all doors together. */
export function gather(all: readonly Guests[]): Guests {
  return {
    scopes: all.flatMap(({ scopes }) => scopes),
    async find(id) {
      for (const guests of all) {
        const found = await guests.find(id);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The adapter of clients, behind what other doors know. */
export function withGuests(own: Adapter, guests: Guests): Adapter {
  return {
    ...own,
    async find(id) {
      if (!ID.test(id)) return undefined;
      const guest = await guests.find(id);
      return guest === undefined ? own.find(id) : (metadataOf(guest) as AdapterPayload);
    },
  };
}

function metadataOf({ metadata, proof }: Guest): ClientMetadata {
  const { client_id: id } = metadata;
  return proof === 'secret'
    ? { ...metadata, token_endpoint_auth_method: 'client_secret_post' }
    : {
        ...metadata,
        token_endpoint_auth_method: 'tls_client_auth',
        tls_client_auth_san_uri: provenName(id),
      };
}
