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
  readonly provider?: string | undefined;
  /** Its removal has begun. */
  readonly isRemoved?: boolean;
  /** Its keys are being made: since when. A provider's has this in the provider's `state`. */
  readonly makingSince?: EpochSeconds | undefined;
};

type External = {
  readonly source: 'external';
  readonly uri: string;
  readonly keys: readonly Jwk[];
  /** They were given with it, and not fetched from it. */
  readonly isGiven?: boolean;
  /** The one provider that takes its tokens. */
  readonly provider?: string | undefined;
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
  /** Throws `not_found`. */
  require(id: string): Promise<Issuer>;
  /** Also one that is being made or removed. */
  find(id: string): Promise<Issuer | undefined>;
  addManaged(id: string, provider: string | undefined): Promise<void>;
  /** The keys of one without a provider are there, and so is it. Throws `conflict` where that took too long. */
  made(id: string): Promise<void>;
  /** Throws `conflict` where one of this uri is there. */
  addExternal(
    given: Pick<External, 'uri' | 'keys' | 'isGiven' | 'provider' | 'fetchedAt' | 'expiresAt'>,
  ): Promise<string>;
  /** What is changed is told of the issuer as it then is. Throws `not_found`, and `conflict` where its uri is taken. */
  change(id: string, changeOf: (issuer: Issuer) => Partial<External>): Promise<void>;
  /** A managed issuer becomes that of a provider. Throws `conflict` where it is one's already. */
  link(id: string, provider: string): Promise<void>;
  /** Undoes that; nothing where it is another's, or gone. */
  unlink(id: string, provider: string): Promise<void>;
  /** From now on it is nobody's, and no provider can be made with it. Throws `conflict` where it is one's. */
  end(id: string): Promise<void>;
  remove(id: string): Promise<void>;
  /** Managed ones whose removal, or making, was begun and cut short. */
  ended(): Promise<readonly Issuer[]>;
  /** All that are a provider's alone. */
  removeOf(provider: string): Promise<void>;
  /** The one of this `iss` that the provider takes tokens of. */
  trusted(provider: Provider, uri: string, isFresh: boolean): Promise<TrustedIssuer | undefined>;
};

const MODEL = 'Issuer';
/** Nobody takes longer to make one, or a provider. */
export const MAKING_SECONDS = 600;
const ANY = '*';
const ATTEMPTS = 8;
/** Between two calls of an issuer whose keys are asked for again. */
const PAUSE_SECONDS = { due: 300, missing: 30 };
/** Fetched keys stay in use so long while their issuer is away. */
const KEEP_SECONDS = 86_400;

/** It is being removed, or made. */
export function isEnded(issuer: Issuer): boolean {
  return issuer.source === 'managed' && (issuer.isRemoved === true || issuer.makingSince !== undefined);
}

function isCutShort(issuer: Issuer, now: EpochSeconds): boolean {
  if (issuer.source !== 'managed') return false;
  return issuer.isRemoved === true || (issuer.makingSince ?? now) < now - MAKING_SECONDS;
}

function taken(): IssuerError {
  return conflict('there is an issuer of this uri already');
}

function asTaken(error: unknown): never {
  throw error instanceof IssuerError && error.code === 'conflict' ? taken() : error;
}

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
  async function require(id: string): Promise<Issuer> {
    const found = await find(assertId(id, 'issuer'));
    if (found === undefined || isEnded(found)) throw absent('issuer');
    return found;
  }
  async function change(id: string, changeOf: (issuer: Issuer) => object): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const issuer = await require(id);
      const { id: _, ...stored } = issuer;
      const changed = { ...stored, ...changeOf(issuer) };
      const uid = changed.source === 'external' ? uidOf(changed) : undefined;
      if (await records.replace(key(id), stored, changed, uid).catch(asTaken)) return;
    }
    throw conflict('the issuer is being changed by others: try again');
  }
  return {
    ...{ find, require, change },
    list: async () => (await all()).filter((issuer) => !isEnded(issuer)),
    ended: async () => (await all()).filter((issuer) => isCutShort(issuer, clock.now())),
    async addManaged(id, provider) {
      const makingSince = provider === undefined ? clock.now() : undefined;
      const payload: Managed = { source: 'managed', provider, makingSince };
      await records.insert(key(id), { payload }, clock.now());
    },
    made: async (id) => settle(vultr, await find(id)),
    async addExternal(given) {
      const id = randomUUID();
      const payload: External = { source: 'external', ...given };
      if (!(await records.insert(key(id), { payload, uid: uidOf(payload) }, clock.now()))) throw taken();
      return id;
    },
    link: (id, provider) => change(id, (issuer) => linked(issuer, provider)),
    async unlink(id, provider) {
      const found = await find(id);
      if (found?.provider !== provider) return;
      await change(id, (now) => (now.provider === provider ? { provider: undefined } : {}));
    },
    end: (id) =>
      change(id, (issuer) => {
        if (issuer.provider !== undefined) throw conflict('it is the issuer of a provider: delete that');
        return { isRemoved: true };
      }),
    async remove(id) {
      await records.remove(key(id));
    },
    async removeOf(provider) {
      for (const issuer of await all())
        if (issuer.provider === provider) await records.remove(key(issuer.id));
    },
    async trusted(provider, uri, isFresh) {
      const issuer = await trusted(vultr, provider, uri, find);
      return issuer && { id: issuer.id, uri, keys: await keysOf(vultr, issuer, isFresh) };
    },
  };
}

async function settle({ records, realm }: Vultr, making: Issuer | undefined): Promise<void> {
  if (making !== undefined) {
    const { id, ...stored } = making;
    if (await records.replace({ realm, model: MODEL, id }, stored, { ...stored, makingSince: undefined }))
      return;
  }
  throw conflict('it took too long to make the issuer: try again');
}

function linked(issuer: Issuer, provider: string) {
  if (!isManaged(issuer) || issuer.provider !== undefined)
    throw conflict('the issuer is that of another provider');
  return { provider };
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
  { id, issuerId, ring }: Provider,
  uri: string,
  find: Issuers['find'],
): Promise<ExternalIssuer | undefined> {
  const { records, realm, clock } = vultr;
  const of = async (provider: string) => {
    const found = await records.findBy({ realm, model: MODEL }, 'uid', uidOf({ uri, provider }), clock.now());
    return found && (shown(found) as ExternalIssuer);
  };
  const own = await of(id);
  if (own !== undefined) return own;
  // The one that it was made with may be another provider's too.
  const named = issuerId === ring ? undefined : await find(issuerId);
  if (named?.source === 'external' && named.uri === uri) return named;
  const any = await of(ANY);
  return any?.isNamed === true ? undefined : any;
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
