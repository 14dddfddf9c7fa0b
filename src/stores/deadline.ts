/** A store whose answers are not waited for without end: a disk or a server that hangs is a fault like any other. */
import { IssuerError } from '../core/errors.ts';
import type { KeyStore } from '../core/key-ports.ts';

const TIMEOUT_SECONDS = 10;

/** What is late fails with `temporarily_unavailable`; a write may still take effect after that. */
export function limitTime(store: KeyStore, timeoutSeconds = TIMEOUT_SECONDS): KeyStore {
  const watch = store.watch?.bind(store);
  return {
    read: (name) => withinTime(store.read(name), timeoutSeconds),
    write: (name, bytes, expected) => withinTime(store.write(name, bytes, expected), timeoutSeconds),
    remove: (name) => withinTime(store.remove(name), timeoutSeconds),
    shared: store.shared,
    ...(watch && { watch }),
    close: () => store.close(),
  };
}

async function withinTime<T>(answer: Promise<T>, seconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new IssuerError(
      'temporarily_unavailable',
      `the key store has not answered for ${seconds} s`,
    );
    timer = setTimeout(() => reject(error), seconds * 1000);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
