/** Passwords by scrypt (RFC 7914), with OWASP's first choice of parameters, a bounded number at a time. */
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';
import { IssuerError } from '../../../core/errors.ts';

const DEFAULT_COST = 17;
const DEFAULT_PARALLEL = 2;
const WAITING_MAX = 128;
const KEY_BYTES = 32;
const BLOCK_SIZE = 8;

export type Passwords = {
  /** `$scrypt$ln=17,r=8,p=1$salt$hash`: the parameters are kept with it. */
  hash(password: string): Promise<string>;
  /** Takes as long where nothing is stored. `isOutdated`: made with other parameters than a new one. */
  verify(
    password: string,
    stored: string | undefined,
  ): Promise<{ readonly matches: boolean; readonly isOutdated: boolean }>;
};

export type PasswordSettings = {
  readonly cost?: number | undefined;
  readonly parallel?: number | undefined;
};

type Parameters = { readonly cost: number; readonly salt: Buffer; readonly key: Buffer };

export function createPasswords({
  cost = DEFAULT_COST,
  parallel = DEFAULT_PARALLEL,
}: PasswordSettings): Passwords {
  const turn = createTurns(parallel);
  const nobody = { cost, salt: randomBytes(16), key: randomBytes(KEY_BYTES) };
  const derive = (password: string, { cost, salt }: Pick<Parameters, 'cost' | 'salt'>) =>
    turn(() => deriveKey(password, salt, cost));
  return {
    async hash(password) {
      const salt = randomBytes(16);
      return format({ cost, salt, key: await derive(password, { cost, salt }) });
    },
    async verify(password, stored) {
      const known = stored === undefined ? undefined : parse(stored);
      const { key, ...how } = known ?? nobody;
      const isEqual = timingSafeEqual(await derive(password, how), key);
      return { matches: isEqual && known !== undefined, isOutdated: how.cost !== cost };
    },
  };
}

/** Unicode's compatibility forms are one password (NIST SP 800-63B section 3.1.1.2). */
function deriveKey(password: string, salt: Buffer, cost: number): Promise<Buffer> {
  const N = 2 ** cost;
  const options: ScryptOptions = { N, r: BLOCK_SIZE, p: 1, maxmem: 2 * 128 * N * BLOCK_SIZE };
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, KEY_BYTES, options, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function format({ cost, salt, key }: Parameters): string {
  return `$scrypt$ln=${cost},r=${BLOCK_SIZE},p=1$${salt.toString('base64url')}$${key.toString('base64url')}`;
}

const STORED = /^\$scrypt\$ln=([0-9]{1,2}),r=8,p=1\$([\w-]+)\$([\w-]{43})$/;

function parse(stored: string): Parameters {
  const [, cost = '', salt = '', key = ''] = STORED.exec(stored) ?? [];
  if (cost === '') throw new IssuerError('server_error', 'a stored password is in no known form');
  return { cost: Number(cost), salt: Buffer.from(salt, 'base64url'), key: Buffer.from(key, 'base64url') };
}

/** At most so many at once; who comes while too many wait is turned away. */
function createTurns(parallel: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running < parallel) running++;
    else if (waiting.length >= WAITING_MAX)
      throw new IssuerError('temporarily_unavailable', 'too many logins at once', { retryAfterSeconds: 5 });
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
