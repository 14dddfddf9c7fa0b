import { readFile } from 'node:fs/promises';
import { ADMIN_OPTION, adminSocket, askJson, ISSUER_OPTION, pathFor, type Question } from './ask.ts';
import { type Command, CommandError, EXIT, type Invocation, JSON_OPTION } from './command.ts';
import { formatDuration, formatTime } from './token-text.ts';

type Key = {
  readonly keyId: string;
  readonly algorithm: string;
  readonly state: string;
  readonly publishedAt: number;
  readonly activatedAt?: number;
  readonly removeAt?: number;
};
type Keys = {
  readonly now: number;
  readonly settings: {
    readonly rotateEverySeconds: number;
    readonly publishAtLeastSeconds: number;
    readonly cacheForSeconds: number;
  };
  readonly keys: readonly Key[];
};

export const command: Command = {
  summary: 'List, rotate, revoke or import signing keys',
  usage: 'list | rotate [--algorithm ALG] [--force] | revoke KID | import FILE [--algorithm ALG]',
  details: `list      the ring: which key signs, which is next, which is retired and until when
rotate    the published next key signs from now on; refused while verifiers may not know it yet
revoke    takes a key out of the JWKS at once: every token that it signed stops verifying
import    a PEM or PKCS#12 file becomes the next key`,
  words: ['list', 'rotate', 'revoke', 'import'],
  options: {
    algorithm: { type: 'string', value: 'ALG', help: 'RS256, PS256, ES256, ES384 or EdDSA (rotate: all)' },
    force: { type: 'boolean', help: 'Rotate although verifiers may not know the next key yet' },
    passphrase: { type: 'string', value: 'FILE', help: 'File with the passphrase of the key to import' },
    issuer: ISSUER_OPTION,
    json: JSON_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const [action = 'list', argument] = invocation.words;
    const keys = await act(invocation, action, argument);
    if (invocation.values.flag('json')) invocation.io.write(`${JSON.stringify(keys, null, 2)}\n`);
    else invocation.io.write(formatKeys(keys));
    return EXIT.ok;
  },
};

async function act(invocation: Invocation, action: string, argument: string | undefined): Promise<Keys> {
  const send = (question: Question) =>
    askJson<Keys>(adminSocket(invocation), { ...question, path: pathFor(invocation, question.path) });
  if (action === 'list') return send({ path: '/v1/keys' });
  if (action === 'rotate') return rotate(invocation, send);
  if (action !== 'revoke' && action !== 'import')
    throw new CommandError(
      `mintmark keys has no "${action}": it is list, rotate, revoke or import`,
      EXIT.usage,
    );
  if (argument === undefined)
    throw new CommandError(
      `mintmark keys ${action} needs ${action === 'import' ? 'a FILE' : 'a KID'}`,
      EXIT.usage,
    );
  if (action === 'import') return importKey(invocation, argument, send);
  return revoke(invocation, argument, send);
}

/** The next key takes over from a revoked active one, however young it is: a compromised key must not wait. */
async function revoke(
  { io }: Invocation,
  keyId: string,
  send: (question: Question) => Promise<Keys>,
): Promise<Keys> {
  const { keys } = await send({ path: '/v1/keys' });
  const key = keys.find((candidate) => candidate.keyId === keyId);
  const broken = key?.state === 'active' ? await whatBreaks(key.algorithm, send) : '';
  const left = await send({ path: '/v1/keys/revoke', fields: { keyId } });
  if (key !== undefined && key.state !== 'next')
    io.writeError(`revoked: tokens of ${key.algorithm} ${keyId} stop verifying as verifiers fetch the JWKS again
${broken}`);
  return left;
}

async function rotate(
  { io, values }: Invocation,
  send: (question: Question) => Promise<Keys>,
): Promise<Keys> {
  const algorithm = values.text('algorithm');
  const isForced = values.flag('force');
  const broken = isForced ? await whatBreaks(algorithm, send) : '';
  const rotated = await send({
    path: '/v1/keys/rotate',
    fields: { force: isForced, ...(algorithm === undefined ? {} : { algorithm }) },
  });
  io.writeError(broken);
  return rotated;
}

/** What it breaks that a key signs before its time, and for how long. */
async function whatBreaks(
  algorithm: string | undefined,
  send: (question: Question) => Promise<Keys>,
): Promise<string> {
  const { now, keys, settings } = await send({ path: '/v1/keys' });
  const young = keys.filter(
    (key) =>
      key.state === 'next' &&
      (algorithm === undefined || key.algorithm === algorithm) &&
      now - key.publishedAt < settings.publishAtLeastSeconds,
  );
  const lines = young.map(
    (key) =>
      `${key.algorithm} ${key.keyId} has been published for ${formatDuration(now - key.publishedAt)} of ${formatDuration(settings.publishAtLeastSeconds)}: ` +
      `verifiers that have not fetched the JWKS since ${new Date(key.publishedAt * 1000).toISOString()} refuse new tokens until they do, ` +
      `those that follow Cache-Control within ${formatDuration(settings.cacheForSeconds)}, others within ${formatDuration(settings.publishAtLeastSeconds - (now - key.publishedAt))}`,
  );
  return lines.map((line) => `too early: ${line}\n`).join('');
}

async function importKey(
  { io, values }: Invocation,
  file: string,
  send: (question: Question) => Promise<Keys>,
): Promise<Keys> {
  const { parseKeyFile } = await import('../signers/import-key.ts');
  const passphraseFile = values.text('passphrase');
  const bytes = file === '-' ? await io.readInput() : await readNamed(file);
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile);
  const { privateKey, algorithms } = await parseKeyFile(bytes, passphrase).catch((error: Error) => {
    const hint = passphrase === undefined ? ' (--passphrase FILE gives one)' : '';
    throw new CommandError(`${(error as { detail?: string }).detail ?? error.message}${hint}`);
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

function formatKeys({ now, settings, keys }: Keys): string {
  const rows = keys.map(
    (key) => [key.algorithm, key.state, key.keyId, describe(key, now, settings)] as const,
  );
  const lines = [['ALG', 'STATE', 'KID', 'SINCE'] as const, ...rows].map(
    ([algorithm, state, keyId, text]) =>
      `${algorithm.padEnd(6)} ${state.padEnd(8)} ${keyId.padEnd(43)} ${text}`,
  );
  return `${lines.join('\n')}\n`;
}

function describe(key: Key, now: number, settings: Keys['settings']): string {
  if (key.state === 'next') {
    const ready = key.publishedAt + settings.publishAtLeastSeconds;
    return ready > now ? `published; may sign ${formatTime(ready, now)}` : 'published; may sign now';
  }
  if (key.state === 'retired') return `retired; leaves the JWKS ${formatTime(key.removeAt ?? now, now)}`;
  return `signs; rotates ${formatTime((key.activatedAt ?? now) + settings.rotateEverySeconds, now)}`;
}
