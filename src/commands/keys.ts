import { readFile } from 'node:fs/promises';
import { ADMIN_OPTION, adminSocket, askJson, ISSUER_OPTION, ofIssuer, type Question } from './ask.ts';
import { type Command, CommandError, EXIT, type Invocation, JSON_OPTION } from './command.ts';
import { formatDuration, formatTime } from './token-text.ts';

type Key = {
  readonly keyId: string;
  readonly algorithm: string;
  readonly state: string;
  readonly publishedAt: number;
  readonly activatedAt?: number | undefined;
  readonly removeAt?: number | undefined;
};
type Keys = {
  readonly now: number;
  readonly settings: {
    readonly rotateEverySeconds: number;
    readonly publishAtLeastSeconds: number;
    readonly cacheForSeconds: number;
    /** Those that rules ask for. */
    readonly algorithms: readonly string[];
  };
  readonly keys: readonly Key[];
};

export const command: Command = {
  summary: 'List, rotate, revoke or import signing keys',
  usage: 'list | rotate [--algorithm ALG] [--force] | revoke KID... | import FILE [--algorithm ALG]',
  details: `list      the ring: which key signs, which is next, which is retired and until when
rotate    the published next key signs from now on; refused while verifiers may not know it yet
revoke    takes keys out of the JWKS at once: every token that they signed stops verifying
import    a PEM or PKCS#12 file becomes the next key
Keys of an algorithm that no rule asks for, imported ones too, leave by themselves, each
keys.rotateEvery after it was published or began to sign.`,
  words: { list: 0, rotate: 0, revoke: Number.POSITIVE_INFINITY, import: 1 },
  options: {
    algorithm: { type: 'string', value: 'ALG', help: 'RS256, PS256, ES256, ES384 or EdDSA (rotate: all)' },
    force: { type: 'boolean', help: 'Rotate although verifiers may not know the next key yet' },
    passphrase: { type: 'string', value: 'FILE', help: 'File with the passphrase of the key to import' },
    json: JSON_OPTION,
    issuer: ISSUER_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const [action = 'list', ...names] = invocation.words;
    const keys = await act(invocation, action, names);
    if (invocation.values.flag('json')) invocation.io.write(`${JSON.stringify(keys, null, 2)}\n`);
    else invocation.io.write(formatKeys(keys));
    return EXIT.ok;
  },
};

async function act(invocation: Invocation, action: string, names: readonly string[]): Promise<Keys> {
  const send: Send = (question) =>
    askJson<Keys>(adminSocket(invocation), ofIssuer(invocation, question), 'keys');
  if (action === 'list') return send({ path: '/v1/keys' });
  if (action === 'rotate') return rotate(invocation, send);
  if (action !== 'revoke' && action !== 'import')
    throw new CommandError(
      `mintmark keys has no "${action}": it is list, rotate, revoke or import`,
      EXIT.usage,
    );
  const [file] = names;
  if (file === undefined)
    throw new CommandError(
      `mintmark keys ${action} needs ${action === 'import' ? 'a FILE' : 'a KID'}`,
      EXIT.usage,
    );
  if (action === 'import') return importKey(invocation, file, send);
  return revoke(invocation, names, send);
}

type Send = (question: Question) => Promise<Keys>;

/** The next key takes over from a revoked active one, however young it is: a compromised key must not wait. */
async function revoke({ io }: Invocation, keyIds: readonly string[], send: Send): Promise<Keys> {
  let left = await send({ path: '/v1/keys' });
  const find = (keyId: string) => left.keys.find((key) => key.keyId === keyId);
  // The issuer refuses one that is not there before another is revoked.
  const unknown = keyIds.filter((keyId) => find(keyId) === undefined);
  const succeeded = new Set<string>();
  for (const keyId of new Set([...unknown, ...keyIds])) {
    const key = find(keyId);
    left = await send({ path: '/v1/keys/revoke', fields: { keyId } });
    if (key === undefined || key.state === 'next') continue;
    if (key.state === 'active') succeeded.add(key.algorithm);
    io.writeError(
      `revoked: tokens of ${key.algorithm} ${keyId} stop verifying as verifiers fetch the JWKS again\n`,
    );
  }
  io.writeError(whatBreaks(left, ({ algorithm }) => succeeded.has(algorithm)));
  return left;
}

async function rotate({ io, values }: Invocation, send: Send): Promise<Keys> {
  const algorithm = values.text('algorithm');
  const isForced = values.flag('force');
  const rotated = await send({
    path: '/v1/keys/rotate',
    fields: { force: isForced, ...(algorithm === undefined ? {} : { algorithm }) },
  });
  if (isForced)
    io.writeError(whatBreaks(rotated, (key) => algorithm === undefined || key.algorithm === algorithm));
  return rotated;
}

/** What it breaks that a key signs before its time, and for how long. */
function whatBreaks({ now, keys, settings }: Keys, isSuccessor: (key: Key) => boolean): string {
  const young = keys.filter(
    (key) =>
      key.state === 'active' && isSuccessor(key) && now - key.publishedAt < settings.publishAtLeastSeconds,
  );
  const lines = young.map(
    (key) =>
      `${key.algorithm} ${key.keyId} has been published for ${formatDuration(now - key.publishedAt)} of ${formatDuration(settings.publishAtLeastSeconds)}: ` +
      `verifiers that have not fetched the JWKS since ${new Date(key.publishedAt * 1000).toISOString()} refuse new tokens until they do, ` +
      `those that follow Cache-Control within ${formatDuration(settings.cacheForSeconds)}, others within ${formatDuration(settings.publishAtLeastSeconds - (now - key.publishedAt))}`,
  );
  return lines.map((line) => `too early: ${line}\n`).join('');
}

async function importKey({ io, values }: Invocation, file: string, send: Send): Promise<Keys> {
  const { parseKeyFile } = await import('../signers/import-key.ts');
  const passphraseFile = values.text('passphrase');
  const bytes = file === '-' ? await io.readInput() : await readNamed(file);
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile);
  const { privateKey, algorithms } = await parseKeyFile(bytes, passphrase).catch((error: Error) => {
    const { detail = error.message } = error as { readonly detail?: string };
    const isMissing = passphrase === undefined && detail.includes('passphrase');
    throw new CommandError(`${detail}${isMissing ? ' (--passphrase FILE gives one)' : ''}`);
  });
  const algorithm = values.text('algorithm') ?? algorithms[0] ?? '';
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  try {
    return await send({ path: `/v1/keys/import?algorithm=${encodeURIComponent(algorithm)}`, bytes: der });
  } finally {
    der.fill(0);
  }
}

async function readNamed(file: string): Promise<Buffer> {
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(`cannot read ${file}: ${error.code}`);
  });
}

/** Without the newline that editors leave. */
async function readPassphrase(file: string): Promise<Buffer> {
  const bytes = await readNamed(file);
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

/** The two times are whole seconds, read one after the other: times that are told would move between two calls. */
const ROUNDING_SECONDS = 2;

/** The ring has a time of its own, which no jump of the clock moves: what it comes to is told by the clock. */
function formatKeys({ now, settings, keys }: Keys): string {
  const ahead = Math.floor(Date.now() / 1000) - now;
  const jumped = Math.abs(ahead) > ROUNDING_SECONDS ? ahead : 0;
  const moved = (at: number | undefined) => (at === undefined ? undefined : at + jumped);
  const rows = keys.map((key) => {
    const { publishedAt, activatedAt, removeAt } = key;
    const told = {
      ...key,
      publishedAt: publishedAt + jumped,
      activatedAt: moved(activatedAt),
      removeAt: moved(removeAt),
    };
    return [key.algorithm, key.state, key.keyId, describe(told, now + jumped, settings)] as const;
  });
  const lines = [['ALG', 'STATE', 'KID', 'SINCE'] as const, ...rows].map(
    ([algorithm, state, keyId, text]) =>
      `${algorithm.padEnd(6)} ${state.padEnd(8)} ${keyId.padEnd(43)} ${text}`,
  );
  return `${lines.join('\n')}\n`;
}

function describe(key: Key, now: number, settings: Keys['settings']): string {
  if (key.state !== 'retired' && !settings.algorithms.includes(key.algorithm)) {
    const leaves = (key.activatedAt ?? key.publishedAt) + settings.rotateEverySeconds;
    return `no rule asks for it; ${key.state === 'next' ? 'leaves' : 'retires'} ${formatTime(leaves, now)}`;
  }
  if (key.state === 'next') {
    const ready = key.publishedAt + settings.publishAtLeastSeconds;
    return ready > now ? `published; may sign ${formatTime(ready, now)}` : 'published; may sign now';
  }
  if (key.state === 'retired') return `retired; leaves the JWKS ${formatTime(key.removeAt ?? now, now)}`;
  return `signs; rotates ${formatTime((key.activatedAt ?? now) + settings.rotateEverySeconds, now)}`;
}
