/** The public listener's certificate and key from files, taken up again when the files change. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { constants, open, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { IssuerError } from '../core/errors.ts';
import type { EpochSeconds } from '../core/ports.ts';

/** Paths of PEM files: the server's certificate followed by those that lead to its root, and its key. */
export type TlsFiles = { readonly certificate: string; readonly key: string };

/** PEM, as node:tls takes it. */
export type TlsPair = { readonly cert: Buffer; readonly key: Buffer };

export type LoadedTls = TlsPair & {
  readonly expiresAt: EpochSeconds;
  /** For the operator's eyes; the pair can be used. */
  readonly warnings: readonly string[];
};

export type TlsFault = { readonly file: keyof TlsFiles; readonly message: string };

/** Throws `server_error`, which names the files and what is wrong with them. */
export async function loadTls(files: TlsFiles, now: EpochSeconds): Promise<LoadedTls> {
  const { loaded, faults } = await inspectTls(files, now);
  if (loaded !== undefined) return loaded;
  throw new IssuerError('server_error', faults.map(({ message }) => message).join('; '));
}

/** The pair, or everything that is wrong with it. */
export async function inspectTls(
  files: TlsFiles,
  now: EpochSeconds,
): Promise<{ readonly loaded?: LoadedTls; readonly faults: readonly TlsFault[] }> {
  const faults: TlsFault[] = [];
  const report = (file: keyof TlsFiles, message: string) => void faults.push({ file, message });
  const certificate = await read('certificate', files, report, (pem) => new X509Certificate(pem));
  const key = await read('key', files, report, (pem) => createPrivateKey(pem));
  if (certificate === undefined || key === undefined) return { faults };
  const misfit = misfitOf(files, certificate.parsed, key.parsed);
  if (misfit !== undefined) return { faults: [{ file: 'key', message: misfit }] };
  const pair = { cert: certificate.pem, key: key.pem };
  try {
    createSecureContext(pair);
  } catch (error) {
    report('certificate', `${files.certificate} cannot be used for TLS: ${(error as Error).message}`);
    return { faults };
  }
  const expiresAt = Math.floor(Date.parse(certificate.parsed.validTo) / 1000);
  const warnings = warningsOf(files, certificate.parsed, expiresAt, now);
  return { loaded: { ...pair, expiresAt, warnings }, faults };
}

const HOLDS_NONE = {
  certificate: 'holds no certificate in PEM',
  key: 'holds no private key in PEM without a passphrase',
};

async function read<T>(
  file: keyof TlsFiles,
  files: TlsFiles,
  report: (file: keyof TlsFiles, message: string) => void,
  parse: (pem: Buffer) => T,
): Promise<{ readonly pem: Buffer; readonly parsed: T } | undefined> {
  let pem: Buffer | undefined;
  try {
    pem = await readPlain(files[file]);
    return { pem, parsed: parse(pem) };
  } catch (error) {
    const why = pem === undefined ? `TLS ${file}` : `${files[file]} ${HOLDS_NONE[file]}`;
    report(file, `${why}: ${(error as Error).message}`);
    return undefined;
  }
}

/** Links are followed; a pipe that nobody writes to holds up nothing. */
async function readPlain(path: string): Promise<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error(`${path} is not a file`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function misfitOf(files: TlsFiles, certificate: X509Certificate, key: KeyObject): string | undefined {
  if (certificate.checkPrivateKey(key)) return undefined;
  return `${files.key} is not the key of the first certificate in ${files.certificate} (${oneLine(certificate.subject)}): the server's own certificate must stand first`;
}

function warningsOf(
  files: TlsFiles,
  certificate: X509Certificate,
  expiresAt: EpochSeconds,
  now: EpochSeconds,
) {
  const warnings: string[] = [];
  if (expiresAt <= now) warnings.push(`${files.certificate} expired on ${certificate.validTo}`);
  if (Date.parse(certificate.validFrom) / 1000 > now) {
    warnings.push(`${files.certificate} is not valid before ${certificate.validFrom}`);
  }
  return warnings;
}

/** Node gives a name's parts as lines. */
const oneLine = (name: string): string => JSON.stringify(name.replaceAll('\n', ', '));

export type TlsWatch = {
  /** The last good pair. */
  current(): LoadedTls;
  /** Loads the files now, whether they changed or not; throws as `loadTls` does, and the last good pair stays. */
  reload(): Promise<void>;
  close(): void;
};

export type TlsWatchOptions = {
  now(): EpochSeconds;
  onChange(loaded: LoadedTls): void;
  /** The new files are wrong in this way; the last good pair stays. */
  onError(error: unknown): void;
  /** The time between two looks. */
  readonly intervalSeconds?: number;
};

/**
 * Loads the pair, throwing as `loadTls` does, and from then on looks at the
 * files every few seconds, through links (Kubernetes replaces a secret's files
 * by swapping one). Files that changed are taken once they stand still from one
 * look to the next, so a key that is copied after its certificate is waited for.
 */
export async function watchTls(files: TlsFiles, options: TlsWatchOptions): Promise<TlsWatch> {
  let seen = await fingerprint(files);
  let taken = seen;
  let current = await loadTls(files, options.now());
  let closed = false;
  let last: Promise<void> = Promise.resolve();
  const take = async (print: string) => {
    taken = print;
    const loaded = await loadTls(files, options.now());
    if (closed) return;
    options.onChange(loaded);
    current = loaded;
  };
  const look = async () => {
    const print = await fingerprint(files);
    try {
      if (print !== taken && print === seen) await take(print);
    } catch (error) {
      if (!closed) options.onError(error);
    }
    seen = print;
  };
  const inTurn = (task: () => Promise<void>): Promise<void> => {
    const done = last.then(() => (closed ? undefined : task()));
    last = done.catch(() => undefined);
    return done;
  };
  const timer = setInterval(() => void inTurn(look), (options.intervalSeconds ?? 5) * 1000).unref();
  return {
    current: () => current,
    reload: () => inTurn(async () => take(await fingerprint(files))),
    close() {
      closed = true;
      clearInterval(timer);
    },
  };
}

/** Changes whenever one of the files was written or replaced; never throws. */
async function fingerprint(files: TlsFiles): Promise<string> {
  const print = async (path: string) => {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(':');
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    }
  };
  return `${await print(files.certificate)} ${await print(files.key)}`;
}
