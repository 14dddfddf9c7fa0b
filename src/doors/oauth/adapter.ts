/**
 * oidc-provider's storage over the port of records. Ids are bearer values, so only their hash is
 * stored; consuming is atomic, and whoever comes second ends the family (RFC 9700 sections 2.1.1 and 4.14).
 */
import { createHmac, timingSafeEqual, hash as toHash } from 'node:crypto';
import { type Adapter, type AdapterPayload, errors } from 'oidc-provider';
import { IssuerError } from '../../core/errors.ts';
import type { EpochSeconds } from '../../core/ports.ts';
import type { FoundRecord, RecordFields, RecordKey, RecordPayload, RecordStore } from '../../core/records.ts';
import { consumeLater, endFamily, writeLater } from './redemption.ts';
import { restoredClient, storedClient } from './registration.ts';
import type { OAuthConfig } from './settings.ts';

export type AdapterParts = {
  readonly records: RecordStore;
  readonly realm: string;
  readonly now: () => EpochSeconds;
  /** Vouches for the ids that stand for hashed ones. */
  readonly secret: Uint8Array;
  /** Called for each user code that is tried; throws where they are too many. */
  readonly onUserCode: () => Promise<void>;
  readonly config: Pick<OAuthConfig, 'registration'>;
};

/** Found by a second name, a record does not know its id: the hash, vouched for, stands for it. */
const HASHED = '~';
/** The ids that registered clients are given. */
const ID = /^[\w-]{1,64}$/;
/** An expired device code is told from an unknown one for so long. */
const AFTERLIFE_SECONDS = 600;

/** What is given for something that is consumed. */
const GIVEN: ReadonlySet<string> = new Set(['AccessToken', 'RefreshToken']);

/** The models that the provider keeps, by the names of their classes. */
const MODELS: ReadonlySet<string> = new Set([
  'AccessToken',
  'AuthorizationCode',
  'BackchannelAuthenticationRequest',
  'Client',
  'ClientCredentials',
  'DeviceCode',
  'Grant',
  'InitialAccessToken',
  'Interaction',
  'PushedAuthorizationRequest',
  'RefreshToken',
  'RegistrationAccessToken',
  'ReplayDetection',
  'Session',
]);

export function hash(value: string): string {
  return toHash('sha256', value, 'base64url');
}

export function isStandIn(id: string): boolean {
  return id.startsWith(HASHED);
}

/** Ids as they are stored, and what stands for one whose bearer value is not known. */
function createIds(secret: Uint8Array) {
  const mac = (text: string) => createHmac('sha256', secret).update(text).digest('base64url');
  const standIn = (stored: string) => `${HASHED}${stored}.${mac(stored)}`;
  const storedId = (id: string) => {
    if (!isStandIn(id)) return hash(id);
    const [stored = '', mark = ''] = id.slice(1).split('.');
    const [given, right] = [Buffer.from(mark), Buffer.from(mac(stored))];
    const isOurs = given.length === right.length && timingSafeEqual(given, right);
    return isOurs ? stored : hash(id);
  };
  return { standIn, storedId };
}

export function openAdapter(model: string, parts: AdapterParts): Adapter {
  if (!MODELS.has(model)) throw new Error(`the provider has no model ${model}: its classes were renamed`);
  const { records, realm, now, secret } = parts;
  const { standIn, storedId } = createIds(secret);
  const key = (id: string): RecordKey => ({ realm, model, id: storedId(id) });
  const load = (found: FoundRecord | undefined, restored: RecordPayload): AdapterPayload | undefined =>
    found && {
      ...found.payload,
      ...(found.consumedAt === undefined ? {} : { consumed: found.consumedAt }),
      ...restored,
    };
  if (model === 'Client') return clientAdapter(parts);
  /** Two logins at once give one session two new ids: the later one stays. */
  const saveSession = async (id: string, fields: RecordFields) => {
    try {
      await records.upsert(key(id), fields);
    } catch (error) {
      if (!(error instanceof IssuerError && error.code === 'conflict')) throw error;
      const other = await records.findBy({ realm, model }, 'uid', fields.uid ?? '', now());
      if (other !== undefined) await records.remove({ realm, model, id: other.id });
      await records.upsert(key(id), fields);
    }
  };
  return {
    async upsert(id, payload, expiresIn) {
      const { grantId } = payload;
      const family = grantId === undefined ? undefined : storedId(grantId);
      const kept = model === 'Interaction' ? withoutIds(id, payload, storedId) : payload;
      const fields = { ...fieldsOf(kept, model, now(), expiresIn), family };
      if (model === 'Session') return saveSession(id, fields);
      if (GIVEN.has(model) && writeLater({ key: key(id), fields })) return;
      if (model !== 'ReplayDetection') return records.upsert(key(id), fields);
      if (!(await records.insert(key(id), fields, now())))
        throw new errors.InvalidClientAuth('assertions must only be used once');
    },
    async find(id) {
      const found = await records.find(key(id), now());
      const ids = model === 'Interaction' && found ? idsOf(id, found.payload, standIn) : {};
      return load(found, { jti: id, ...ids });
    },
    async findByUid(uid) {
      const found = await records.findBy({ realm, model }, 'uid', uid, now());
      return load(found, { jti: standIn(found?.id ?? '') });
    },
    async findByUserCode(userCode) {
      await parts.onUserCode();
      const found = await records.findBy({ realm, model }, 'userCode', hash(userCode), now());
      return load(found, { jti: standIn(found?.id ?? ''), userCode });
    },
    async consume(id) {
      if (consumeLater(key(id))) return;
      if (await records.consume(key(id), now())) return;
      await endFamily(records, key(id), now());
      throw new errors.InvalidGrant('it was used before');
    },
    async destroy(id) {
      // A grant ends with everything that came of it.
      if (model === 'Grant') await records.removeFamily(realm, storedId(id));
      await records.remove(key(id));
    },
    async revokeByGrantId(grantId) {
      await records.removeFamily(realm, storedId(grantId));
    },
  };
}

/** An interaction has its own id at the end of an address, and those of what it came from: stored, they are hashes too. */
const SOURCES = ['parJti', 'deviceCode'];

function withoutIds(id: string, payload: AdapterPayload, storedId: (id: string) => string): AdapterPayload {
  return {
    ...payload,
    ...mapSources(payload, storedId),
    returnTo: String(payload.returnTo).slice(0, -id.length),
  };
}

function idsOf(id: string, payload: RecordPayload, standIn: (stored: string) => string): RecordPayload {
  return { ...mapSources(payload, standIn), returnTo: `${payload.returnTo}${id}` };
}

function mapSources(payload: RecordPayload, map: (id: string) => string): RecordPayload {
  const there = SOURCES.filter((name) => payload[name] !== undefined);
  return Object.fromEntries(there.map((name) => [name, map(String(payload[name]))]));
}

/** Registered clients, by their client_id. */
function clientAdapter({ records, realm, now, config }: AdapterParts): Adapter {
  const key = (id: string): RecordKey => ({ realm, model: 'Client', id });
  const none = async () => undefined;
  return {
    async upsert(id, payload) {
      await records.upsert(key(id), { payload: storedClient(payload as never) as RecordPayload });
    },
    async find(id) {
      const found = ID.test(id) ? await records.find(key(id), now()) : undefined;
      return restoredClient(found?.payload as never, config) as AdapterPayload | undefined;
    },
    async destroy(id) {
      await records.remove(key(id));
    },
    findByUid: none,
    findByUserCode: none,
    consume: none,
    revokeByGrantId: none,
  };
}

/** What of a payload is a bearer value, or a column of its own, is not stored with it. */
function fieldsOf(payload: AdapterPayload, model: string, now: EpochSeconds, expiresIn: number | undefined) {
  const { jti: _bearer, userCode, consumed: _column, ...rest } = payload;
  if (rest.session?.cookie !== undefined) rest.session = { ...rest.session, cookie: undefined };
  const after = model === 'DeviceCode' ? AFTERLIFE_SECONDS : 0;
  return {
    payload: rest,
    expiresAt: expiresIn === undefined ? undefined : now + expiresIn + after,
    uid: model === 'Session' ? payload.uid : undefined,
    userCode: userCode === undefined ? undefined : hash(userCode),
  };
}
