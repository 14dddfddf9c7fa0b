/** The public listener's certificate and key from files, taken up again when the files change. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
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

/** Throws `server_error`, which names the file and what is wrong with it. */
export async function loadTls(files: TlsFiles, now: EpochSeconds): Promise<LoadedTls> {
  const cert = await readNamed('certificate', files.certificate);
  const key = await readNamed('key', files.key);
  const certificate = parseNamed(
    files.certificate,
    'holds no certificate in PEM',
    () => new X509Certificate(cert),
  );
  const privateKey = parseNamed(files.key, 'holds no private key in PEM without a passphrase', () =>
    createPrivateKey(key),
  );
  assertBelongTogether(files, certificate, privateKey);
  parseNamed(files.certificate, 'cannot be used for TLS', () => createSecureContext({ cert, key }));
  const expiresAt = Math.floor(Date.parse(certificate.validTo) / 1000);
  return { cert, key, expiresAt, warnings: warningsOf(files, certificate, expiresAt, now) };
}

async function readNamed(what: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new IssuerError('server_error', `TLS ${what}: ${(error as Error).message}`, { cause: error });
  }
}

function parseNamed<T>(path: string, why: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new IssuerError('server_error', `${path} ${why}: ${(error as Error).message}`, { cause: error });
  }
}

function assertBelongTogether(files: TlsFiles, certificate: X509Certificate, key: KeyObject): void {
  if (certificate.checkPrivateKey(key)) return;
  throw new IssuerError(
    'server_error',
    `${files.key} is not the key of the first certificate in ${files.certificate} (${oneLine(certificate.subject)}): the server's own certificate must stand first`,
  );
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
  /** Loads the files now, whether they changed or not. */
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
    try {
      const loaded = await loadTls(files, options.now());
      if (closed) return;
      options.onChange(loaded);
      current = loaded;
    } catch (error) {
      if (!closed) options.onError(error);
    }
  };
  const look = async () => {
    const print = await fingerprint(files);
    if (print !== taken && print === seen) await take(print);
    seen = print;
  };
  const inTurn = (task: () => Promise<void>): Promise<void> => {
    last = last.then(() => (closed ? undefined : task()));
    return last;
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
