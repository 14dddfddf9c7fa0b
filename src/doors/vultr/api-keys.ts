/**
 * API keys: mmk_ID_SECRET. Of the secret, which is random and long, a plain hash is stored; it is compared
 * in constant time. A rotated key's old secret counts for a while.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import type { EpochSeconds } from '../../core/ports.ts';
import { absent, conflict } from './fields.ts';
import { listAll } from './paging.ts';
import type { Vultr } from './parts.ts';

export const SCOPES = [
  'providers:read',
  'providers:write',
  'issuers:read',
  'issuers:write',
  'tokens',
] as const;
export type Scope = (typeof SCOPES)[number];

type Secret = { readonly hash: string; readonly until?: EpochSeconds };

export type ApiKey = {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** The providers that it is for; all where absent. */
  readonly providers?: readonly string[];
  readonly createdAt: EpochSeconds;
  readonly rotatedAt?: EpochSeconds;
};

type StoredKey = Omit<ApiKey, 'id'> & { readonly secrets: readonly Secret[] };

export type ApiKeys = {
  add(key: Pick<ApiKey, 'name' | 'scopes' | 'providers'>): Promise<{ key: ApiKey; text: string }>;
  list(): Promise<readonly ApiKey[]>;
  /** A new secret; the last one counts for so many seconds more, those before it as they were told. 0 ends all. */
  rotate(name: string, overlapSeconds: number): Promise<{ key: ApiKey; text: string }>;
  remove(name: string): Promise<void>;
  /** The key of a request. Throws `peer_unproven`, `access_denied` and `too_many_requests`. */
  require(context: Context, scope: Scope): Promise<ApiKey>;
};

const FORM = /^Bearer mmk_([0-9a-f]{24})_([A-Za-z0-9_-]{43})$/i;
const MODEL = 'ApiKey';
const WINDOW_SECONDS = 60;
const ATTEMPTS = 8;
/** Of one key, the new one too. */
const SECRETS_MAX = 5;
const NOBODY: StoredKey = {
  ...{ name: '', scopes: [], createdAt: 0 },
  secrets: [{ hash: hashOf('nobody') }],
};

export function openApiKeys(vultr: Vultr): ApiKeys {
  const { records, realm, clock } = vultr;
  const key = (id: string) => ({ realm, model: MODEL, id });
  async function named(name: string) {
    const found = await records.findBy({ realm, model: MODEL }, 'uid', uidOf(name), clock.now());
    if (found === undefined) throw absent('API key');
    return { id: found.id, stored: found.payload as StoredKey };
  }
  return {
    async add(given) {
      const id = randomBytes(12).toString('hex');
      const { text, secret } = newSecret(id);
      const stored: StoredKey = { ...given, createdAt: clock.now(), secrets: [secret] };
      const fields = { payload: stored, uid: uidOf(given.name) };
      if (!(await records.insert(key(id), fields, clock.now())))
        throw conflict(`there is an API key ${given.name} already`);
      vultr.tell({ apiKey: given.name, scopes: given.scopes }, 'an API key was added');
      return { key: shown(id, stored), text };
    },
    async list() {
      const all = await listAll(records, { realm, model: MODEL }, clock);
      return all.map(({ id, payload }) => shown(id, payload as StoredKey));
    },
    async rotate(name, overlapSeconds) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const { id, stored } = await named(name);
        const now = clock.now();
        const { text, secret } = newSecret(id);
        const kept = overlapSeconds === 0 ? [] : keptSecrets(stored, now, overlapSeconds);
        if (kept.length >= SECRETS_MAX)
          throw conflict(
            `${SECRETS_MAX} secrets of API key ${name} count still: wait for their overlaps, or rotate it with an overlap of 0s, which ends them`,
          );
        const rotated: StoredKey = { ...stored, rotatedAt: now, secrets: [secret, ...kept] };
        if (!(await records.replace(key(id), stored, rotated))) continue;
        vultr.tell({ apiKey: name, overlapSeconds }, 'an API key was rotated');
        return { key: shown(id, rotated), text };
      }
      throw conflict('the API key is being changed by others');
    },
    async remove(name) {
      await records.remove(key((await named(name)).id));
      vultr.tell({ apiKey: name }, 'an API key was removed');
    },
    require: (context, scope) => require(vultr, context, scope),
  };
}

async function require(vultr: Vultr, context: Context, scope: Scope): Promise<ApiKey> {
  const { records, realm, clock } = vultr;
  const [, id, secret] = FORM.exec(context.get('Authorization')) ?? [];
  if (id === undefined || secret === undefined) throw unknown('no API key is shown');
  const found = await records.find({ realm, model: MODEL, id: id.toLowerCase() }, clock.now());
  const stored = (found?.payload as StoredKey | undefined) ?? NOBODY;
  if (!matches(stored, secret, clock.now()) || found === undefined)
    throw await wrong(vultr, context, found && stored.name);
  const key = shown(found.id, stored);
  if (key.scopes.includes(scope)) return key;
  const reason = `The API key has not the scope ${scope}.`;
  vultr.refused('access_denied', `API key ${key.name}: it has not the scope ${scope}`);
  throw new IssuerError('access_denied', reason, { shown: { reason } });
}

function matches({ secrets }: StoredKey, secret: string, now: EpochSeconds): boolean {
  const given = Buffer.from(hashOf(secret));
  let isOne = false;
  for (const { hash, until } of secrets)
    if (timingSafeEqual(Buffer.from(hash), given) && (until ?? now + 1) > now) isOne = true;
  return isOne;
}

/** Those that count after a rotation, beside the new one. */
function keptSecrets({ secrets }: StoredKey, now: EpochSeconds, overlapSeconds: number): readonly Secret[] {
  return secrets
    .filter(({ until }) => (until ?? now + 1) > now)
    .map((secret) => ({ until: now + overlapSeconds, ...secret }));
}

/** Only wrong keys are counted: nobody is locked out by what others try. */
async function wrong(vultr: Vultr, context: Context, name: string | undefined) {
  const { records, realm, clock, config, networkOf } = vultr;
  const id = hashOf(networkOf(context.req));
  const made = await records.count({ realm, model: 'WrongApiKeys', id }, WINDOW_SECONDS, clock.now());
  const whose = name === undefined ? 'an API key that is none of ours' : `not the secret of API key ${name}`;
  // What comes beyond is no more news than it is answered.
  if (made <= config.wrongKeysPerMinute + 1)
    vultr.refused(made <= config.wrongKeysPerMinute ? 'peer_unproven' : 'too_many_requests', whose);
  if (made <= config.wrongKeysPerMinute) return unknown(whose);
  return new IssuerError('too_many_requests', 'too many wrong API keys', {
    retryAfterSeconds: WINDOW_SECONDS,
  });
}

function unknown(detail: string): IssuerError {
  const reason = 'Invalid API token.';
  return new IssuerError('peer_unproven', detail, { shown: { reason } });
}

/** Whether a key is for a provider. */
export function isFor({ providers }: ApiKey, id: string): boolean {
  return providers?.includes(id) ?? true;
}

function newSecret(id: string): { readonly text: string; readonly secret: Secret } {
  const secret = randomBytes(32).toString('base64url');
  return { text: `mmk_${id}_${secret}`, secret: { hash: hashOf(secret) } };
}

function shown(id: string, { secrets: _, ...key }: StoredKey): ApiKey {
  return { id, ...key };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** Second names are bounded. */
function uidOf(name: string): string {
  return hashOf(name);
}
