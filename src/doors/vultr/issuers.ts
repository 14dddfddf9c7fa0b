/** Issuers as they are recorded: our own, whose keys are in a ring, and external ones, whose tokens are taken. */
import { createHash, randomUUID } from 'node:crypto';
import { IssuerError } from '../../core/errors.ts';
import type { EpochSeconds } from '../../core/ports.ts';
import type { FoundRecord } from '../../core/records.ts';
import { absent, assertId, conflict, refuse } from './fields.ts';
import { listAll } from './paging.ts';
import type { Jwk, TrustedIssuer, Vultr } from './parts.ts';
import type { Provider } from './providers.ts';

type Managed = {
  readonly source: 'managed';
  /** Whose issuer it is. */
  readonly provider?: string;
};

type External = {
  readonly source: 'external';
  readonly uri: string;
  readonly keys: readonly Jwk[];
  /** They were given with it, and not fetched from it. */
  readonly isGiven?: boolean;
  /** The one provider that takes its tokens. */
  readonly provider?: string;
  /** Some provider was made with it: only such take its tokens. */
  readonly isNamed?: boolean;
  readonly fetchedAt: EpochSeconds;
  readonly expiresAt: EpochSeconds;
  /** When its server was asked last. */
  readonly askedAt?: EpochSeconds;
};

export type StoredIssuer = Managed | External;
export type Issuer = { readonly id: string } & StoredIssuer;
export type ExternalIssuer = { readonly id: string } & External;

export type Issuers = {
  list(): Promise<readonly Issuer[]>;
  find(id: string): Promise<Issuer | undefined>;
  /** Throws `not_found`. */
  require(id: string): Promise<Issuer>;
  addManaged(id: string, provider: string | undefined): Promise<void>;
  /** Throws `conflict` where one of this uri is there. */
  addExternal(
    given: Pick<External, 'uri' | 'keys' | 'isGiven' | 'provider' | 'fetchedAt' | 'expiresAt'>,
  ): Promise<string>;
  /** Throws `conflict` where somebody else was first. */
  change(issuer: ExternalIssuer, changed: Partial<External>): Promise<void>;
  /** A managed issuer becomes that of a provider. Throws `conflict` where it is one's already. */
  link(issuer: Issuer, provider: string): Promise<void>;
  /** A provider was made with an external one. */
  name(issuer: Issuer): Promise<void>;
  remove(issuer: Issuer): Promise<void>;
  /** All that are a provider's alone. */
  removeOf(provider: string): Promise<void>;
  /** The one of this `iss` that the provider takes tokens of. */
  trusted(provider: Provider, uri: string, isFresh: boolean): Promise<TrustedIssuer | undefined>;
};

const MODEL = 'Issuer';
const ANY = '*';
/** Between two calls of an issuer whose keys are asked for again. */
const PAUSE_SECONDS = { due: 300, missing: 30 };
/** Fetched keys stay in use so long while their issuer is away. */
const KEEP_SECONDS = 86_400;

export function isManaged(issuer: Issuer): boolean {
  return issuer.source === 'managed';
}

export function openIssuers(vultr: Vultr): Issuers {
  const { records, realm, clock } = vultr;
  const place = { realm, model: MODEL };
  const key = (id: string) => ({ ...place, id });
  const all = async () => (await listAll(records, place, clock)).map(shown);
  async function find(id: string): Promise<Issuer | undefined> {
    const found = await records.find(key(id), clock.now());
    return found && shown(found);
  }
  async function replace({ id, ...stored }: Issuer, changed: object): Promise<void> {
    if (!(await records.replace(key(id), stored, { ...stored, ...changed })))
      throw conflict('the issuer was changed by others');
  }
  return {
    find,
    list: all,
    async require(id) {
      const found = await find(assertId(id, 'issuer'));
      if (found === undefined) throw absent('issuer');
      return found;
    },
    async addManaged(id, provider) {
      const payload: Managed = { source: 'managed', ...(provider === undefined ? {} : { provider }) };
      await records.insert(key(id), { payload }, clock.now());
    },
    async addExternal({ provider, ...given }) {
      const id = randomUUID();
      const payload: External = {
        source: 'external',
        ...given,
        ...(provider === undefined ? {} : { provider }),
      };
      if (!(await records.insert(key(id), { payload, uid: uidOf(payload) }, clock.now())))
        throw conflict('there is an issuer of this uri already');
      return id;
    },
    async change(issuer, changed) {
      const { id: _, ...stored } = { ...issuer, ...changed };
      if (uidOf(stored) === uidOf(issuer)) return replace(issuer, changed);
      await records.upsert(key(issuer.id), { payload: stored, uid: uidOf(stored) });
    },
    async link(issuer, provider) {
      if (issuer.source !== 'managed' || issuer.provider !== undefined)
        throw conflict('the issuer is that of another provider');
      await replace(issuer, { provider });
    },
    async name(issuer) {
      if (issuer.source === 'external' && issuer.isNamed !== true) await replace(issuer, { isNamed: true });
    },
    async remove(issuer) {
      const { id } = issuer;
      // From now on no provider can be made with it.
      if (issuer.source === 'managed') await replace(issuer, { provider: id });
      if (!(await records.remove(key(id)))) throw absent('issuer');
    },
    async removeOf(provider) {
      for (const issuer of await all())
        if (issuer.provider === provider) await records.remove(key(issuer.id));
    },
    trusted: (provider, uri, isFresh) => trusted(vultr, provider, uri, isFresh),
  };
}

function shown({ id, payload }: FoundRecord): Issuer {
  return { id, ...(payload as StoredIssuer) };
}

/** A provider's own issuer of a uri is another than everybody's. */
function uidOf({ uri, provider = ANY }: Pick<External, 'uri' | 'provider'>): string {
  return createHash('sha256').update(`${provider} ${uri}`).digest('base64url');
}

async function trusted(
  vultr: Vultr,
  { id, issuerId }: Provider,
  uri: string,
  isFresh: boolean,
): Promise<TrustedIssuer | undefined> {
  const { records, realm, clock } = vultr;
  for (const provider of [id, ANY]) {
    const found = await records.findBy({ realm, model: MODEL }, 'uid', uidOf({ uri, provider }), clock.now());
    const issuer = found && (shown(found) as ExternalIssuer);
    if (issuer === undefined) continue;
    if (provider === ANY && issuer.isNamed === true && issuer.id !== issuerId) continue;
    return { id: issuer.id, uri, keys: await keysOf(vultr, issuer, isFresh) };
  }
  return undefined;
}

/** Asked for again once they have expired, or where a token names one that is not there. */
async function keysOf(vultr: Vultr, issuer: ExternalIssuer, isFresh: boolean): Promise<readonly Jwk[]> {
  const now = vultr.clock.now();
  const { expiresAt, askedAt = 0, uri, keys } = issuer;
  if ((!isFresh && now < expiresAt) || now < askedAt + PAUSE_SECONDS[isFresh ? 'missing' : 'due'])
    return keys;
  const { id, ...stored } = issuer;
  const place = { realm: vultr.realm, model: MODEL, id };
  const asking = { ...stored, askedAt: now };
  // Of many that find it so at once, one asks.
  if (!(await vultr.records.replace(place, stored, asking))) return keys;
  try {
    const { allowPrivateIssuers: allowPrivate } = vultr.config;
    const fetched = await vultr.fetchPublishedKeys({ issuer: uri, allowPrivate });
    const times = { fetchedAt: now, expiresAt: now + fetched.freshForSeconds };
    await vultr.records.replace(place, asking, { ...asking, ...times, keys: fetched.keys, isGiven: false });
    return fetched.keys;
  } catch (error) {
    const isOver = issuer.isGiven !== true && now >= expiresAt + KEEP_SECONDS;
    const what = isOver ? 'its tokens are not taken' : 'the last ones stay in use';
    vultr.warn(`the keys of issuer ${id} cannot be fetched: ${(error as Error).message}; ${what}`);
    if (isOver) throw new IssuerError('temporarily_unavailable', 'the keys of an issuer are not known');
    return keys;
  }
}

/** The keys that an issuer publishes now. Throws `invalid_request` with why they cannot be had. */
export async function fetchKeys(
  vultr: Vultr,
  uri: string,
): Promise<Pick<External, 'keys' | 'fetchedAt' | 'expiresAt'>> {
  const { allowPrivateIssuers: allowPrivate } = vultr.config;
  try {
    const { keys, freshForSeconds } = await vultr.fetchPublishedKeys({ issuer: uri, allowPrivate });
    const fetchedAt = vultr.clock.now();
    return { keys, fetchedAt, expiresAt: fetchedAt + freshForSeconds };
  } catch (error) {
    throw refuse(`the keys of uri cannot be fetched, and none is given: ${(error as Error).message}`);
  }
}
